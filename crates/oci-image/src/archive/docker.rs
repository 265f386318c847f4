//! The docker archive: what `docker load` reads, also in Docker 20.10.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use serde::Serialize;
use tar::Builder;

use super::{ArchiveError, LAYER_LIMIT, append, header};
use crate::{Decompressor, Descriptor, Digest, DigestWriter, Layout, StoredImage};

/// A decompressed layer up to this size is kept between being measured and being written. Tests make larger ones.
const KEPT: usize = if cfg!(test) { 64 << 10 } else { 32 << 20 };

/// Writes one image with its tags (`repository:tag`) as `docker load` reads it; returns the writer, unflushed.
///
/// `present` are the `diff_id`s the engine has. A layer is left out if it is in there with all layers below it, since
/// an engine knows a layer by what it lies on: the set must come from one image that shares its lowest layers with
/// this one, or from several that do. An engine that lacks a layer that was left out refuses the archive.
///
/// Layers are decompressed on the way. A tar archive says how long a file is before it comes, so a layer is read
/// twice, the first time to measure and to check it; a damaged one is found before any of it is written.
pub fn write_docker_archive<W: Write>(
    layout: &Layout,
    image: &StoredImage,
    tags: &[&str],
    present: &BTreeSet<Digest>,
    writer: W,
) -> Result<W, ArchiveError> {
    let mut archive = Builder::new(writer);
    let manifest = docker_manifest([(image, tags)]);
    append(&mut archive, "manifest.json", &manifest)?;
    Written::default().add(&mut archive, (layout, image), present)?;
    archive.into_inner().map_err(ArchiveError::Write)
}

/// `manifest.json`: the tags of images and what they are made of.
pub(super) fn docker_manifest<'a>(
    images: impl IntoIterator<Item = (&'a StoredImage, &'a [&'a str])>,
) -> Vec<u8> {
    let entry = |(image, tags): (&StoredImage, &'a [&'a str])| ManifestEntry {
        config: config_path(image),
        repo_tags: tags,
        layers: image.config.diff_ids.iter().map(layer_path).collect(),
    };
    let entries: Vec<ManifestEntry<'_>> = images.into_iter().map(entry).collect();
    serde_json::to_vec(&entries).expect("strings and lists")
}

/// Configurations and layers that an archive has already.
#[derive(Default)]
pub(super) struct Written(BTreeSet<Digest>);

impl Written {
    /// Adds those of an image that the archive lacks, without the lowest layers that are `present`.
    pub(super) fn add<W: Write>(
        &mut self,
        archive: &mut Builder<W>,
        (layout, image): (&Layout, &StoredImage),
        present: &BTreeSet<Digest>,
    ) -> Result<(), ArchiveError> {
        if self.0.insert(image.id()) {
            append(archive, &config_path(image), &image.config_bytes)?;
        }
        let above = image
            .layers()
            .skip_while(|(diff_id, _)| present.contains(diff_id));
        for (diff_id, blob) in above {
            if self.0.insert(diff_id) {
                let layer = measure(layout, diff_id, blob)?;
                layer.append(archive, &layer_path(&diff_id))?;
            }
        }
        Ok(())
    }
}

fn config_path(image: &StoredImage) -> String {
    format!("{}.json", image.id().hex())
}

fn layer_path(diff_id: &Digest) -> String {
    format!("{}.tar", diff_id.hex())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry<'a> {
    config: String,
    repo_tags: &'a [&'a str],
    layers: Vec<String>,
}

/// A layer whose digests are right.
struct Measured<'a> {
    layout: &'a Layout,
    blob: &'a Descriptor,
    size: u64,
    /// All of it, where it is small.
    content: Option<Vec<u8>>,
}

fn measure<'a>(
    layout: &'a Layout,
    diff_id: Digest,
    blob: &'a Descriptor,
) -> Result<Measured<'a>, ArchiveError> {
    let broken = |error| layout.read_error(blob, error);
    let mut layer = Decompressor::new(layout.reader(blob)?, LAYER_LIMIT).map_err(broken)?;
    let mut digester = DigestWriter::new(Kept(Some(Vec::new())));
    io::copy(&mut layer, &mut digester).map_err(broken)?;
    layer.drain().map_err(broken)?;
    let (kept, actual, size) = digester.finish();
    if actual != diff_id {
        return Err(ArchiveError::DiffId {
            blob: Box::new(blob.clone()),
            expected: diff_id,
            actual,
        });
    }
    Ok(Measured {
        layout,
        blob,
        size,
        content: kept.0,
    })
}

impl Measured<'_> {
    fn append<W: Write>(self, archive: &mut Builder<W>, path: &str) -> Result<(), ArchiveError> {
        if let Some(content) = self.content {
            return append(archive, path, &content);
        }
        let broken = |error| self.layout.read_error(self.blob, error);
        let reader = self.layout.reader(self.blob)?;
        let layer = Decompressor::new(reader, self.size).map_err(broken)?;
        // Its digest is checked again by the reader, so it cannot have become shorter.
        archive
            .append_data(&mut header(self.size), path, layer.take(self.size))
            .map_err(|error| match error.downcast() {
                Ok(error) => ArchiveError::Layout(error),
                Err(error) => ArchiveError::Write(error),
            })
    }
}

/// What was written, until it is too much to keep.
struct Kept(Option<Vec<u8>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Some(kept) if kept.len() + bytes.len() <= KEPT => kept.extend_from_slice(bytes),
            kept => *kept = None,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
