//! An OCI layout as a tar, without the layers that a node has: what `ctr images import` reads.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use oci_image::{Descriptor, Digest, Index, Layout, LayoutError, StoredImage};
use tar::{Builder, EntryType, Header};

/// Tells containerd the whole name of an image; the one of OCI stands for a tag alone.
const NAME_ANNOTATION: &str = "io.containerd.image.name";

/// Writes the image under `name` without the blobs of `present`. The index comes last: an archive that is cut before
/// it names no image.
pub(super) fn write_node_archive(
    layout: &Layout,
    image: &StoredImage,
    name: &str,
    present: &BTreeSet<Digest>,
    writer: &mut dyn Write,
) -> io::Result<()> {
    let mut archive = Builder::new(writer);
    let version = br#"{"imageLayoutVersion":"1.0.0"}"#;
    append(
        &mut archive,
        "oci-layout",
        version.len() as u64,
        &version[..],
    )?;
    let mut written = present.clone();
    for layer in &image.manifest.layers {
        if written.insert(layer.digest) {
            append_blob(&mut archive, layout, layer)?;
        }
    }
    append_blob(&mut archive, layout, &image.manifest.config)?;
    append_blob(&mut archive, layout, &image.descriptor)?;
    let index = index(image, name).to_json();
    append(&mut archive, "index.json", index.len() as u64, &index[..])?;
    archive.finish()
}

fn index(image: &StoredImage, name: &str) -> Index {
    let mut descriptor = Descriptor::new(
        &image.descriptor.media_type,
        image.descriptor.digest,
        image.descriptor.size,
    );
    descriptor.platform = Some(image.config.platform.clone());
    descriptor
        .annotations
        .insert(NAME_ANNOTATION.to_owned(), name.to_owned());
    Index::new(vec![descriptor])
}

fn append_blob(
    archive: &mut Builder<&mut dyn Write>,
    layout: &Layout,
    blob: &Descriptor,
) -> io::Result<()> {
    let reader = layout.reader(blob).map_err(unreadable)?;
    let path = format!("blobs/sha256/{}", blob.digest.hex());
    append(archive, &path, blob.size, reader)
}

/// Keeps the error of the layout as the source.
pub(super) fn unreadable(error: LayoutError) -> io::Error {
    io::Error::other(error)
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
