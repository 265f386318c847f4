//! Docker archives of images of layouts: one, several, or one without the layers that an engine has.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use oci_image::{Decompressor, Descriptor, Digest, DigestWriter, Layout, StoredImage, media_type};
use serde::Serialize;
use tar::{Builder, EntryType, Header};

use super::node_archive::unreadable;

/// The first file of an archive; what `docker save` writes has it last.
pub(super) const MANIFEST: &str = "manifest.json";
/// An uncompressed layer is not longer: 64 GiB.
const LAYER_LIMIT: u64 = 64 << 30;

/// An image as an archive has it.
#[derive(Clone, Copy)]
pub(super) struct ArchiveImage<'a> {
    /// What has its blobs.
    pub layout: &'a Layout,
    /// The image.
    pub image: &'a StoredImage,
    /// `repository:tag`, as Docker shows it.
    pub name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    config: String,
    repo_tags: [&'a str; 1],
    layers: Vec<String>,
}

/// The list of images that an archive of these begins with.
pub(super) fn manifest(images: &[ArchiveImage<'_>]) -> Vec<u8> {
    let entries: Vec<Entry<'_>> = images
        .iter()
        .map(|archived| Entry {
            config: config_path(archived.image),
            repo_tags: [archived.name],
            layers: archived.image.layers().map(|(diff_id, _)| layer_path(diff_id)).collect(),
        })
        .collect();
    serde_json::to_vec(&entries).expect("strings and lists")
}

/// Writes images without the layers of `present`, each layer once. Layers are checked against their digests on the
/// way; an archive that could not be checked to its end is not finished.
pub(super) fn write_docker_archive(
    images: &[ArchiveImage<'_>],
    present: &BTreeSet<Digest>,
    writer: &mut dyn Write,
) -> io::Result<()> {
    let mut archive = Builder::new(writer);
    let manifest = manifest(images);
    append(&mut archive, MANIFEST, manifest.len() as u64, &manifest[..])?;
    let mut written = present.clone();
    for archived in images {
        let config = &archived.image.config_bytes;
        if written.insert(archived.image.id()) {
            let path = config_path(archived.image);
            append(&mut archive, &path, config.len() as u64, &config[..])?;
        }
        for (diff_id, layer) in archived.image.layers() {
            if written.insert(diff_id) {
                append_layer(&mut archive, archived.layout, layer, diff_id)?;
            }
        }
    }
    archive.finish()
}

fn append_layer(
    archive: &mut Builder<&mut dyn Write>,
    layout: &Layout,
    layer: &Descriptor,
    diff_id: Digest,
) -> io::Result<()> {
    // A tar wants to know a size first. What is compressed is read twice for it; memory and disk stay as they are.
    let size = if layer.media_type == media_type::LAYER {
        layer.size
    } else {
        let mut counter = DigestWriter::new(io::sink());
        io::copy(&mut open(layout, layer)?, &mut counter)?;
        let (_, digest, size) = counter.finish();
        check(layer, diff_id, digest)?;
        size
    };
    append(archive, &layer_path(diff_id), size, open(layout, layer)?)
}

fn open(layout: &Layout, layer: &Descriptor) -> io::Result<impl Read> {
    let blob = layout.reader(layer).map_err(unreadable)?;
    Decompressor::new(blob, LAYER_LIMIT)
}

fn check(layer: &Descriptor, expected: Digest, actual: Digest) -> io::Result<()> {
    if actual == expected {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("layer {} holds {actual}, not {expected}", layer.digest),
    ))
}

fn config_path(image: &StoredImage) -> String {
    format!("{}.json", image.id().hex())
}

fn layer_path(diff_id: Digest) -> String {
    format!("{}.tar", diff_id.hex())
}

fn append(
    archive: &mut Builder<&mut dyn Write>,
    path: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    archive.append_data(&mut header, path, content)
}
