//! Reading what `docker save` writes: the format of its own up to Docker 24, an OCI layout with it since 25. Both
//! have a `manifest.json` that says which files are what.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::Deserialize;
use tar::{Archive, Entry, EntryType};

use super::{ArchiveError, LAYER_LIMIT};
use crate::{
    BlobWriter, Compression, ConfigFile, Decompressor, Descriptor, Digest, DigestWriter, LayerSink,
    Layout, LayoutError, StoredImage, StoredLayer, media_type,
};

/// What each file is shows only in a document that may come last: small files wait for it in memory.
const SMALL: u64 = 1 << 20;
/// All of them together.
const DOCUMENTS: u64 = 64 << 20;

/// Stores the one image of a docker archive, without a name. Layers that are not compressed become so (zstd).
pub fn read_docker_archive(
    reader: impl Read,
    layout: &Layout,
) -> Result<StoredImage, ArchiveError> {
    let mut files = Files::default();
    let mut archive = Archive::new(reader);
    for entry in archive.entries().map_err(ArchiveError::Read)? {
        files.take(entry.map_err(ArchiveError::Read)?, layout)?;
    }
    let manifest = files.document("manifest.json")?;
    let images: Vec<ManifestEntry> =
        serde_json::from_slice(manifest).map_err(ArchiveError::Manifest)?;
    let [image] = &images[..] else {
        return Err(ArchiveError::Images(images.len()));
    };
    let config_bytes = files.document(&image.config)?.to_vec();
    let diff_ids = diff_ids(&config_bytes)?;
    if diff_ids.len() != image.layers.len() {
        return Err(ArchiveError::Layers {
            layers: image.layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    let mut layers = Vec::new();
    for (path, diff_id) in image.layers.iter().zip(diff_ids) {
        let layer = files.layer(path, layout)?;
        if layer.diff_id != diff_id {
            return Err(ArchiveError::DiffId {
                blob: Box::new(layer.descriptor),
                expected: diff_id,
                actual: layer.diff_id,
            });
        }
        layers.push(layer.descriptor);
    }
    Ok(layout.add_image(&config_bytes, layers)?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry {
    config: String,
    #[serde(default)]
    layers: Vec<String>,
}

fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, LayoutError> {
    let parsed = ConfigFile::parse(config).map_err(|source| LayoutError::Config {
        blob: Box::new(Descriptor::of(media_type::CONFIG, config)),
        source,
    });
    Ok(parsed?.diff_ids)
}

#[derive(Default)]
struct Files {
    small: BTreeMap<String, Vec<u8>>,
    small_bytes: u64,
    layers: BTreeMap<String, StoredLayer>,
    /// Up to Docker 24 the same layer is written once, and is a link elsewhere.
    links: BTreeMap<String, String>,
}

impl Files {
    fn take<R: Read>(
        &mut self,
        mut entry: Entry<'_, R>,
        layout: &Layout,
    ) -> Result<(), ArchiveError> {
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = normal(&path);
        match entry.header().entry_type() {
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8_lossy(&target).into_owned();
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                self.links
                    .insert(path.clone(), normal(&format!("{folder}/{target}")));
            }
            EntryType::Regular if entry.size() <= SMALL => {
                self.small_bytes += entry.size();
                if self.small_bytes > DOCUMENTS {
                    return Err(ArchiveError::Documents(DOCUMENTS));
                }
                let mut content = Vec::new();
                entry
                    .read_to_end(&mut content)
                    .map_err(ArchiveError::Read)?;
                self.small.insert(path, content);
            }
            EntryType::Regular => {
                self.layers.insert(path, store(entry, layout)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn document(&self, path: &str) -> Result<&[u8], ArchiveError> {
        let found = self.small.get(&normal(path));
        found
            .map(Vec::as_slice)
            .ok_or_else(|| ArchiveError::Missing(path.to_owned()))
    }

    fn layer(&mut self, path: &str, layout: &Layout) -> Result<StoredLayer, ArchiveError> {
        let mut at = normal(path);
        // A link leads to a file, not to a link.
        if let Some(target) = self.links.get(&at) {
            at.clone_from(target);
        }
        if let Some(layer) = self.layers.get(&at) {
            return Ok(layer.clone());
        }
        let layer = store(self.document(&at)?, layout)?;
        self.layers.insert(at, layer.clone());
        Ok(layer)
    }
}

/// Stores a layer compressed: as it comes, where it comes compressed.
fn store(mut reader: impl Read, layout: &Layout) -> Result<StoredLayer, ArchiveError> {
    let mut start = Vec::with_capacity(4);
    reader
        .by_ref()
        .take(4)
        .read_to_end(&mut start)
        .map_err(ArchiveError::Read)?;
    let compression = Compression::of(&start);
    let mut whole = start.as_slice().chain(reader);
    if compression == Compression::None {
        let mut sink = LayerSink::new(layout, Compression::Zstd)?;
        io::copy(&mut whole, &mut sink).map_err(ArchiveError::Copy)?;
        return Ok(sink.finish()?);
    }
    let tee = Tee {
        reader: whole,
        copy: layout.writer()?,
    };
    let mut layer = Decompressor::new(tee, LAYER_LIMIT).map_err(ArchiveError::Copy)?;
    let mut digester = DigestWriter::new(io::sink());
    io::copy(&mut layer, &mut digester).map_err(ArchiveError::Copy)?;
    let (_, tee) = layer.drain().map_err(ArchiveError::Copy)?;
    let (_, diff_id, uncompressed) = digester.finish();
    Ok(StoredLayer {
        diff_id,
        descriptor: tee.copy.commit(compression.media_type())?,
        uncompressed,
    })
}

/// Writes down what is read.
struct Tee<R> {
    reader: R,
    copy: BlobWriter,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.copy.write_all(&buffer[..read])?;
        Ok(read)
    }
}

/// Without `.` and `..`, as far as they can be followed.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_followed() {
        for (path, expected) in [
            ("manifest.json", "manifest.json"),
            ("./a//b", "a/b"),
            ("x/../y/layer.tar", "y/layer.tar"),
            ("../../y", "y"),
        ] {
            assert_eq!(normal(path), expected);
        }
    }
}
