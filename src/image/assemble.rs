//! Layers, configuration and manifest of an image that is assembled here.

use std::collections::BTreeMap;

use oci_image::{
    Compression, Descriptor, Digest, ImageConfig, LayerError, LayerSink, LayerWriter, Manifest,
    Platform, RunConfig, StoredImage, media_type,
};

use crate::attest::Origin;
use crate::stack::{Base, NativeBuild};

use super::build_error::BuildError;
use super::spec::ImageSpec;
use super::store::{Store, StoredLayer};

/// The label that holds the digest of an image's inputs: under another name the same image is found by it.
pub(crate) const INPUTS_LABEL: &str = "stackctl.dev/inputs";
/// The label that holds the service's name.
pub(crate) const TITLE_LABEL: &str = "org.opencontainers.image.title";
/// The image whose layers are at the bottom.
const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// Its digest.
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// Where programs are looked for in an image that has more than one.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A compiled program that lands at `/NAME`.
pub(crate) struct Binary {
    /// Its file name.
    pub name: String,
    /// The ELF file.
    pub content: Vec<u8>,
}

/// What lies below the binaries.
pub(crate) struct Below {
    /// An image of others.
    pub base: Option<StoredImage>,
    /// Debian packages.
    pub packages: Option<StoredLayer>,
    /// Files of the repository.
    pub files: Option<StoredLayer>,
}

/// What every image of ours is labelled with.
pub(crate) fn labels(spec: &ImageSpec) -> BTreeMap<String, String> {
    let mut labels = spec.labels.clone();
    labels.insert(TITLE_LABEL.to_owned(), spec.service.to_string());
    labels.insert(INPUTS_LABEL.to_owned(), spec.inputs.digest().to_string());
    labels
}

/// What manifests and indices say beside the labels: from when they are, and on what. Whoever pushes an image finds
/// the layers of its base by that.
pub(crate) fn annotations(
    spec: &ImageSpec,
    build: &NativeBuild,
    created: u64,
) -> BTreeMap<String, String> {
    let mut annotations = labels(spec);
    let origin = Origin {
        created,
        revision: None,
    };
    annotations.extend(origin.annotations());
    if let Some(Base {
        reference, digest, ..
    }) = &build.base
    {
        let tag = reference.tag().map(|tag| format!(":{tag}"));
        let name = format!(
            "{}/{}{}",
            reference.registry(),
            reference.repository(),
            tag.unwrap_or_default()
        );
        annotations.insert(BASE_NAME.to_owned(), name);
        annotations.insert(BASE_DIGEST.to_owned(), digest.to_string());
    }
    annotations
}

/// How layers are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerOptions {
    /// The time of all entries, in seconds since 1970.
    pub created: u64,
    /// How they are compressed.
    pub compression: Compression,
}

/// Everything an image for one platform is assembled from.
pub(crate) struct Parts {
    /// Which image.
    pub spec: ImageSpec,
    /// How it runs.
    pub build: NativeBuild,
    /// What it runs on.
    pub platform: Platform,
    /// What lies at the bottom.
    pub below: Below,
    /// What lies on top.
    pub binaries: Vec<Binary>,
    /// How the top layer is written.
    pub options: LayerOptions,
}

/// The image for one platform, complete in the store.
pub(crate) fn image(store: &Store, parts: Parts) -> Result<Descriptor, BuildError> {
    let Parts {
        spec,
        build,
        platform,
        below,
        binaries,
        options,
    } = parts;
    let mut layers: Vec<StoredLayer> = below.packages.into_iter().chain(below.files).collect();
    if !binaries.is_empty() {
        layers.push(write_layer(store, "binaries", options, |writer| {
            for binary in &binaries {
                let size = binary.content.len() as u64;
                writer.file(&binary.name, 0o555, size, binary.content.as_slice())?;
            }
            Ok(())
        })?);
    }
    let described: Vec<(Digest, &str)> = layers
        .iter()
        .map(|layer| (layer.diff_id, layer.created_by.as_str()))
        .collect();
    let config = ImageConfig {
        platform: platform.clone(),
        created: options.created,
        run: run(&spec, &build, below.base.as_ref()),
    };
    let config = match &below.base {
        Some(base) => config.to_json_on(&base.config, &described),
        None => config.to_json(&described),
    };
    let layout = store.layout();
    let config = layout.add(media_type::CONFIG, &config)?;
    let of_base = below.base.into_iter().flat_map(|base| base.manifest.layers);
    let blobs = of_base.chain(layers.into_iter().map(|layer| layer.blob));
    let manifest = Manifest {
        annotations: annotations(&spec, &build, options.created),
        ..Manifest::image(config, blobs.collect())
    };
    let mut descriptor = layout.add(media_type::MANIFEST, &manifest.to_json())?;
    descriptor.platform = Some(platform);
    Ok(descriptor)
}

/// How a container runs: as the base has it, where nothing else is written.
fn run(spec: &ImageSpec, build: &NativeBuild, base: Option<&StoredImage>) -> RunConfig {
    let mut run = base.map(|base| base.config.run.clone()).unwrap_or_default();
    let options = &build.run;
    run.user = options.user.clone();
    run.labels = labels(spec);
    if build.packages.is_some() {
        run.env
            .entry("PATH".to_owned())
            .or_insert_with(|| SEARCH_PATH.to_owned());
    }
    run.env.extend(options.variables.clone());
    let entrypoint = match (&options.entrypoint[..], &build.cargo) {
        ([], Some(cargo)) => vec![format!("/{}", cargo.bin)],
        (written, _) => written.to_vec(),
    };
    if !entrypoint.is_empty() {
        run.entrypoint = entrypoint;
        run.cmd = Vec::new();
    }
    if !options.arguments.is_empty() {
        run.cmd.clone_from(&options.arguments);
    }
    if let Some(folder) = &options.working_dir {
        run.working_dir.clone_from(folder);
    }
    if let Some(signal) = &options.stop_signal {
        run.stop_signal.clone_from(signal);
    }
    run
}

/// Writes a layer into the store.
pub(crate) fn write_layer(
    store: &Store,
    what: &str,
    options: LayerOptions,
    write: impl FnOnce(&mut LayerWriter<LayerSink>) -> Result<(), LayerError>,
) -> Result<StoredLayer, BuildError> {
    let sink = LayerSink::new(store.layout(), options.compression)?;
    let mut writer = LayerWriter::new(sink, options.created);
    let failed = |source: LayerError| BuildError::Layer {
        what: what.to_owned(),
        source,
    };
    write(&mut writer).map_err(failed)?;
    let sink = writer.finish().map_err(|source| {
        failed(LayerError::Io {
            path: what.to_owned(),
            source,
        })
    })?;
    let stored = sink.finish()?;
    Ok(StoredLayer {
        diff_id: stored.diff_id,
        blob: stored.descriptor,
        created_by: format!("stackctl build: {what}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::cache_key::Inputs;
    use super::super::test_stack::{cargo, span};
    use super::*;
    use crate::stack::Build;

    /// The configuration of an image with these options on no base.
    fn run_of(options: crate::stack::RunOptions) -> RunConfig {
        let Build::Native(mut build) = cargo("a") else {
            panic!("it is");
        };
        build.run = options;
        run(&spec(&build, []), &build, None)
    }

    #[test]
    fn the_written_options_are_in_the_configuration() {
        let run = run_of(crate::stack::RunOptions {
            user: "100:101".to_owned(),
            variables: [("COLOUR".to_owned(), "red".to_owned())].into(),
            entrypoint: ["/bin/tool", "--first"].map(str::to_owned).into(),
            arguments: ["--then".to_owned()].into(),
            working_dir: Some("/data".to_owned()),
            stop_signal: Some("SIGQUIT".to_owned()),
        });
        let config = ImageConfig {
            platform: Platform::linux("amd64"),
            created: 0,
            run,
        };
        let json: serde_json::Value = serde_json::from_slice(&config.to_json(&[])).unwrap();
        let found = &json["config"];
        assert_eq!(found["User"], "100:101");
        assert_eq!(found["Env"], serde_json::json!(["COLOUR=red"]));
        assert_eq!(
            found["Entrypoint"],
            serde_json::json!(["/bin/tool", "--first"])
        );
        assert_eq!(found["Cmd"], serde_json::json!(["--then"]));
        assert_eq!(found["WorkingDir"], "/data");
        assert_eq!(found["StopSignal"], "SIGQUIT");
        let own = run_of(crate::stack::RunOptions::default());
        assert_eq!(own.entrypoint, ["/a"]);
        assert_eq!((own.user.as_str(), own.cmd.len()), ("65532:65532", 0));
    }

    fn spec<const N: usize>(build: &NativeBuild, labels: [(String, String); N]) -> ImageSpec {
        ImageSpec {
            service: "a".parse().unwrap(),
            reference: "shop/a:1".to_owned(),
            build: Build::Native(Box::new(build.clone())),
            inputs: Inputs::default(),
            selection: Vec::new(),
            labels: labels.into(),
        }
    }

    #[test]
    fn an_image_says_what_it_is_from_when_and_on_what() {
        let Build::Native(mut build) = cargo("a") else {
            panic!("it is");
        };
        let digest = Digest::of(b"base");
        build.base = Some(Base {
            reference: format!("debian:12@{digest}").parse().unwrap(),
            digest,
            span: span(),
        });
        let source = "org.opencontainers.image.source".to_owned();
        let spec = spec(&build, [(source, "https://example.com/a".to_owned())]);
        let digest = digest.to_string();
        let inputs = spec.inputs.digest().to_string();
        let found = annotations(&spec, &build, 1_714_564_800);
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let expected = [
            ("org.opencontainers.image.base.digest", digest.as_str()),
            (
                "org.opencontainers.image.base.name",
                "docker.io/library/debian:12",
            ),
            ("org.opencontainers.image.created", "2024-05-01T12:00:00Z"),
            ("org.opencontainers.image.source", "https://example.com/a"),
            ("org.opencontainers.image.title", "a"),
            ("stackctl.dev/inputs", inputs.as_str()),
        ];
        assert_eq!(found, expected);
    }
}
