//! An image in memory, and its docker archive.

use std::io::{self, Write};

use serde::Serialize;
use tar::{Builder, EntryType, Header};

use crate::{Digest, ImageConfig};

/// An uncompressed layer.
#[derive(Clone, PartialEq, Eq)]
pub struct Layer {
    /// The tar archive.
    pub tar: Vec<u8>,
    /// Its digest.
    pub diff_id: Digest,
    /// What made it, for `docker history`.
    pub created_by: String,
}

impl Layer {
    /// Digests `tar`.
    #[must_use]
    pub fn new(tar: Vec<u8>, created_by: impl Into<String>) -> Self {
        Self {
            diff_id: Digest::of(&tar),
            tar,
            created_by: created_by.into(),
        }
    }
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Layer({}, {} bytes)", self.diff_id, self.tar.len())
    }
}

/// Layers and the configuration that names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    config: Vec<u8>,
    id: Digest,
    layers: Vec<Layer>,
}

impl Image {
    /// Layers lie on each other in this order, the first at the bottom.
    #[must_use]
    pub fn new(config: &ImageConfig, layers: Vec<Layer>) -> Self {
        let described: Vec<(Digest, &str)> = layers
            .iter()
            .map(|layer| (layer.diff_id, layer.created_by.as_str()))
            .collect();
        let config = config.to_json(&described);
        Self {
            id: Digest::of(&config),
            config,
            layers,
        }
    }

    /// The digest of the configuration: the image's id in the Docker engine.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.id
    }

    /// The layers, the first at the bottom.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Writes one image with its tags (`repository:tag`); returns the writer, unflushed.
pub fn write_image_archive<W: Write>(image: &Image, tags: &[&str], writer: W) -> io::Result<W> {
    let config = format!("{}.json", image.id.hex());
    let layer_path = |layer: &Layer| format!("{}.tar", layer.diff_id.hex());
    let manifest = serde_json::to_vec(&[ManifestEntry {
        config: config.clone(),
        repo_tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        layers: image.layers.iter().map(layer_path).collect(),
    }])?;
    let mut archive = Builder::new(writer);
    append(&mut archive, "manifest.json", &manifest)?;
    append(&mut archive, &config, &image.config)?;
    let mut written = std::collections::BTreeSet::new();
    for layer in &image.layers {
        if written.insert(layer.diff_id) {
            append(&mut archive, &layer_path(layer), &layer.tar)?;
        }
    }
    archive.into_inner()
}

fn append<W: Write>(archive: &mut Builder<W>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, content)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::{Platform, RunConfig};

    #[test]
    fn the_archive_is_what_docker_load_reads() {
        let config = ImageConfig {
            platform: Platform::linux("amd64"),
            created: 0,
            run: RunConfig::default(),
        };
        let layer = Layer::new(b"not a tar, but nobody looks".to_vec(), "test");
        let image = Image::new(&config, vec![layer.clone(), layer.clone()]);
        let bytes = write_image_archive(&image, &["seedling/birthday:1"], Vec::new()).unwrap();

        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut files = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.push((entry.path().unwrap().display().to_string(), content));
        }
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let config_name = format!("{}.json", image.id().hex());
        let layer_name = format!("{}.tar", layer.diff_id.hex());
        assert_eq!(names, ["manifest.json", &config_name, &layer_name]);
        let manifest: serde_json::Value = serde_json::from_slice(&files[0].1).unwrap();
        assert_eq!(
            manifest,
            serde_json::json!([{
                "Config": config_name,
                "RepoTags": ["seedling/birthday:1"],
                "Layers": [layer_name, layer_name],
            }])
        );
        assert_eq!(Digest::of(&files[1].1), image.id());
        assert_eq!(Digest::of(&files[2].1), layer.diff_id);
    }
}
