//! What `docker save` writes, read into a layout: engines since 1.10 write layers as files that `manifest.json` names;
//! those since 25 are OCI layouts beside that.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use oci_image::{Descriptor, Digest, Layout, LayoutError, StoredImage, media_type};
use serde::Deserialize;
use tar::EntryType;

/// Why an archive of an engine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The stream broke.
    #[error("failed to read what the Docker engine sends")]
    Read(#[source] io::Error),
    /// The layout it is read into.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A document is not what it should be.
    #[error("`{path}` in it is not what engines write")]
    Document {
        /// In the archive.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A file that another one names is not there.
    #[error("`{0}` is missing in it")]
    Missing(String),
    /// Layers and configuration do not belong together.
    #[error("it has {layers} layers, but its configuration names {named}")]
    Layers {
        /// In the archive.
        layers: usize,
        /// In the configuration.
        named: usize,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<Digest>,
}

/// Reads the first image of an archive into `layout`. Layers stay as they are in the archive. No path of the archive
/// becomes one of the file system.
pub(super) fn import_saved(layout: &Layout, reader: impl Read) -> Result<StoredImage, SavedError> {
    let files = Files::read(layout, reader)?;
    let entries: Vec<Entry> = files.document(layout, "manifest.json")?;
    let entry = entries
        .into_iter()
        .next()
        .ok_or_else(|| SavedError::Missing("manifest.json".to_owned()))?;
    let config: Config = files.document(layout, &entry.config)?;
    let diff_ids = config.rootfs.diff_ids;
    if entry.layers.len() != diff_ids.len() {
        return Err(SavedError::Layers {
            layers: entry.layers.len(),
            named: diff_ids.len(),
        });
    }
    let layers = entry
        .layers
        .iter()
        .zip(diff_ids)
        .map(|(path, diff_id)| layer(layout, files.find(path)?, diff_id))
        .collect::<Result<_, _>>()?;
    let config = layout.read(files.find(&entry.config)?)?;
    Ok(layout.add_image(&config, layers)?)
}

/// The files of an archive, all of them blobs of a layout.
struct Files {
    blobs: HashMap<PathBuf, Descriptor>,
    links: HashMap<PathBuf, PathBuf>,
}

impl Files {
    fn read(layout: &Layout, reader: impl Read) -> Result<Self, SavedError> {
        let mut files = Self {
            blobs: HashMap::new(),
            links: HashMap::new(),
        };
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries().map_err(SavedError::Read)? {
            let mut entry = entry.map_err(SavedError::Read)?;
            let path = normal(Path::new(""), &entry.path().map_err(SavedError::Read)?);
            match entry.header().entry_type() {
                EntryType::Regular => {
                    let mut blob = layout.writer()?;
                    io::copy(&mut entry, &mut blob).map_err(SavedError::Read)?;
                    blob.flush().map_err(SavedError::Read)?;
                    files.blobs.insert(path, blob.commit(media_type::LAYER)?);
                }
                kind @ (EntryType::Symlink | EntryType::Link) => {
                    let target = entry.link_name().map_err(SavedError::Read)?;
                    let Some(target) = target else { continue };
                    // A symbolic link is relative to its own folder, a hard link to the root.
                    let base = match kind {
                        EntryType::Symlink => path.parent().unwrap_or(Path::new("")),
                        _ => Path::new(""),
                    };
                    let target = normal(base, &target);
                    files.links.insert(path, target);
                }
                _ => {}
            }
        }
        // The archive ends before its padding does; an engine that cannot send that counts as broken.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(SavedError::Read)?;
        Ok(files)
    }

    fn find(&self, path: &str) -> Result<&Descriptor, SavedError> {
        let path = normal(Path::new(""), Path::new(path));
        let target = self.links.get(&path).unwrap_or(&path);
        self.blobs
            .get(target)
            .ok_or_else(|| SavedError::Missing(path.display().to_string()))
    }

    fn document<T: serde::de::DeserializeOwned>(
        &self,
        layout: &Layout,
        path: &str,
    ) -> Result<T, SavedError> {
        let content = layout.read(self.find(path)?)?;
        serde_json::from_slice(&content).map_err(|source| SavedError::Document {
            path: path.to_owned(),
            source,
        })
    }
}

/// A layer with what it is: engines with containerd's store keep layers compressed.
fn layer(layout: &Layout, blob: &Descriptor, diff_id: Digest) -> Result<Descriptor, SavedError> {
    let mut start = Vec::new();
    if blob.digest != diff_id {
        let file = layout.open_blob(blob)?;
        file.take(4)
            .read_to_end(&mut start)
            .map_err(SavedError::Read)?;
    }
    let kind = match start.as_slice() {
        [0x1f, 0x8b, ..] => media_type::LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => media_type::LAYER_ZSTD,
        _ => media_type::LAYER,
    };
    Ok(Descriptor::new(kind, blob.digest, blob.size))
}

/// `path` from `base`, without `.` and `..`; nothing is above the root.
fn normal(base: &Path, path: &Path) -> PathBuf {
    let mut normal = base.to_owned();
    for part in path.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            Component::RootDir => normal.clear(),
            Component::Prefix(_) | Component::CurDir => {}
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tar::{Builder, Header};

    use super::*;

    const CONFIG: &str = "c.json";

    struct Saved(Builder<Vec<u8>>);

    impl Saved {
        fn new() -> Self {
            Self(Builder::new(Vec::new()))
        }

        fn file(mut self, path: &str, content: &[u8]) -> Self {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            self.0.append_data(&mut header, path, content).unwrap();
            self
        }

        fn link(mut self, path: &str, target: &str) -> Self {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            self.0.append_link(&mut header, path, target).unwrap();
            self
        }

        fn documents(self, diff_ids: &[&[u8]], layers: &[&str]) -> Self {
            let ids: Vec<String> = diff_ids
                .iter()
                .map(|content| Digest::of(content).to_string())
                .collect();
            let config = json!({"architecture": "amd64", "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": ids}});
            let manifest = json!([{"Config": CONFIG, "RepoTags": ["a:1"], "Layers": layers}]);
            self.file(CONFIG, config.to_string().as_bytes())
                .file("manifest.json", manifest.to_string().as_bytes())
        }

        fn import(self) -> (tempfile::TempDir, Layout, Result<StoredImage, SavedError>) {
            let folder = tempfile::tempdir().unwrap();
            let layout = Layout::open(folder.path()).unwrap();
            let archive = self.0.into_inner().unwrap();
            let result = import_saved(&layout, archive.as_slice());
            (folder, layout, result)
        }
    }

    #[test]
    fn layers_are_found_through_links_and_keep_their_bytes() {
        let (_folder, layout, result) = Saved::new()
            .file("a/layer.tar", b"one")
            .link("b/layer.tar", "../a/layer.tar")
            .file("blobs/sha256/c", b"two")
            .documents(
                &[b"one", b"one", b"two"],
                &["a/layer.tar", "b/layer.tar", "blobs/sha256/c"],
            )
            .import();
        let image = result.unwrap();
        let layers: Vec<(&str, Digest)> = image
            .manifest
            .layers
            .iter()
            .map(|layer| (layer.media_type.as_str(), layer.digest))
            .collect();
        let one = (media_type::LAYER, Digest::of(b"one"));
        assert_eq!(layers, [one, one, (media_type::LAYER, Digest::of(b"two"))]);
        assert_eq!(layout.read(&image.manifest.layers[2]).unwrap(), b"two");
    }

    #[test]
    fn compressed_layers_are_recognised() {
        let gzip = [0x1f, 0x8b, 8, 0, 0];
        let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0];
        let (_folder, _, result) = Saved::new()
            .file("a", &gzip)
            .file("b", &zstd)
            .documents(&[b"plain a", b"plain b"], &["a", "b"])
            .import();
        let image = result.unwrap();
        let kinds: Vec<&str> = image
            .manifest
            .layers
            .iter()
            .map(|layer| layer.media_type.as_str())
            .collect();
        assert_eq!(kinds, [media_type::LAYER_GZIP, media_type::LAYER_ZSTD]);
    }

    #[test]
    fn archives_that_lack_something_are_refused() {
        let message = |saved: Saved| saved.import().2.unwrap_err().to_string();
        assert_eq!(
            message(Saved::new().file("x", b"")),
            "`manifest.json` is missing in it"
        );
        assert_eq!(
            message(Saved::new().documents(&[b"one"], &["a/layer.tar"])),
            "`a/layer.tar` is missing in it"
        );
        assert_eq!(
            message(Saved::new().file("a", b"").documents(&[], &["a"])),
            "it has 1 layers, but its configuration names 0"
        );
        assert_eq!(
            message(Saved::new().file("manifest.json", b"[")),
            "`manifest.json` in it is not what engines write"
        );
    }

    #[test]
    fn no_path_leads_out_of_the_archive() {
        for (base, path, expected) in [
            ("", "./a/b", "a/b"),
            ("a", "../b/layer.tar", "b/layer.tar"),
            ("a", "../../../etc/passwd", "etc/passwd"),
            ("a", "/etc/passwd", "etc/passwd"),
        ] {
            assert_eq!(
                normal(Path::new(base), Path::new(path)),
                Path::new(expected),
                "{path}"
            );
        }
    }
}
