//! Layers, configuration and manifest of an image that is assembled here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use oci_image::{
    Attributes, Compression, Descriptor, Digest, ImageConfig, LayerError, LayerSink, LayerWriter,
    Manifest, Platform, RunConfig, StoredImage, media_type,
};

use crate::attest::Origin;
use crate::stack::{Base, FilesBuild, NativeBuild};

use super::build_error::BuildError;
use super::files::Files;
use super::rootfs::{self, Entries, Entry};
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

/// The layer of files; made once for the same content.
pub(crate) fn files(
    store: &Store,
    root: &Path,
    build: &FilesBuild,
    options: LayerOptions,
) -> Result<Option<StoredLayer>, BuildError> {
    if build.is_empty() {
        return Ok(None);
    }
    let mut files = Files::new(root);
    let entries = rootfs::entries(build, &files)?;
    files.digest(entries.values().filter_map(|entry| match entry {
        Entry::Copy { from } => Some(from),
        _ => None,
    }))?;
    let key = key(&entries, &files, options);
    if let Some(layer) = store.layer(&key) {
        return Ok(Some(layer));
    }
    let layer = write_layer(store, "files", options, |writer| {
        for (path, entry) in &entries {
            write_entry(writer, &path.join("/"), entry, root)?;
        }
        Ok(())
    })?;
    store.keep_layer(&key, &layer);
    Ok(Some(layer))
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

/// Names the layer of these entries without making it.
fn key(entries: &Entries, files: &Files, options: LayerOptions) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut field = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    field(&format!("files 1 {options:?}"));
    for (path, entry) in entries {
        field(&path.join("/"));
        match entry {
            Entry::Copy { from } => field(files.fingerprint(from)),
            Entry::Text(text) => field(text),
            Entry::Link(target) => field(&format!("-> {target}")),
            Entry::Folder { owner, mode } => field(&format!("{owner:?} {mode:o}")),
        }
    }
    hasher.finalize().to_hex().to_string()
}

fn write_entry<W: Write>(
    writer: &mut LayerWriter<W>,
    path: &str,
    entry: &Entry,
    root: &Path,
) -> Result<(), LayerError> {
    match entry {
        Entry::Folder { owner, mode } => {
            let (uid, gid) = (u64::from(owner.0), u64::from(owner.1));
            writer.directory(
                path,
                Attributes {
                    mode: *mode,
                    uid,
                    gid,
                },
            )
        }
        Entry::Text(text) => writer.file(path, 0o644, text.len() as u64, text.as_bytes()),
        Entry::Link(target) => writer.symlink(path, target),
        Entry::Copy { from } => {
            let failed = |source| LayerError::Io {
                path: from.display().to_string(),
                source,
            };
            let file = File::open(root.join(from)).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            let mode = match metadata.permissions().mode() & 0o111 {
                0 => 0o644,
                _ => 0o755,
            };
            writer.file(path, mode, metadata.len(), file)
        }
    }
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
        let spec = ImageSpec {
            service: "a".parse().unwrap(),
            reference: "shop/a:1".to_owned(),
            build: Build::Native(build.clone()),
            inputs: Inputs::default(),
            selection: Vec::new(),
            labels: [(source, "https://example.com/a".to_owned())].into(),
        };
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
