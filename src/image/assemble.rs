//! The image of a compiled service: the binary at `/NAME` and nothing else. Pure.

use std::collections::BTreeMap;

use oci_image::{Image, ImageConfig, Layer, LayerError, LayerWriter, RunConfig};

use super::spec::ImageSpec;
use super::target::Target;

/// The label that holds the digest of an image's inputs: under another name the same image is found by it.
pub(crate) const INPUTS_LABEL: &str = "stackctl.dev/inputs";
/// Numeric, since there is no `/etc/passwd`; by convention the first user that is nobody else.
const USER: &str = "65532:65532";

/// What every image of ours is labelled with.
pub(crate) fn labels(spec: &ImageSpec) -> BTreeMap<String, String> {
    let mut labels = spec.labels.clone();
    labels.insert(
        "org.opencontainers.image.title".to_owned(),
        spec.service.to_string(),
    );
    labels.insert(INPUTS_LABEL.to_owned(), spec.inputs.digest().to_string());
    labels
}

/// The image of `binary`; `created` in seconds since 1970.
pub(crate) fn image(
    spec: &ImageSpec,
    name: &str,
    binary: &[u8],
    created: u64,
) -> Result<Image, LayerError> {
    let mut layer = LayerWriter::new(Vec::with_capacity(binary.len() + 4096), created);
    layer.file(name, 0o555, binary.len() as u64, binary)?;
    let tar = layer.finish().map_err(|source| LayerError::Io {
        path: name.to_owned(),
        source,
    })?;
    let config = ImageConfig {
        platform: Target::host().platform,
        created,
        run: RunConfig {
            user: USER.to_owned(),
            entrypoint: vec![format!("/{name}")],
            labels: labels(spec),
            ..RunConfig::default()
        },
    };
    Ok(Image::new(&config, vec![Layer::new(tar, "stackctl build")]))
}
