//! Several images in one file: what `docker load` reads, and beside it an OCI layout where that cannot hold all of an
//! image, since Docker's format knows no platforms. Skopeo and podman read that one as `oci-archive:FILE`.

use std::collections::BTreeSet;
use std::io::Write;

use tar::Builder;

use super::docker::{Written, docker_manifest};
use super::{ArchiveError, append, header};
use crate::{Descriptor, Digest, Index, Layout, StoredImage};

/// An image as an archive has it.
#[derive(Clone, Copy, Debug)]
pub struct ArchivedImage<'a> {
    /// What has its blobs.
    pub layout: &'a Layout,
    /// Its manifest, or the index of its platforms.
    pub descriptor: &'a Descriptor,
    /// What `docker load` is to take of it.
    pub docker: Option<&'a StoredImage>,
    /// `repository:tag`, as Docker shows it.
    pub tag: &'a str,
    /// The same with the registry.
    pub name: &'a str,
}

/// The first files of an archive of these images: archives that begin alike hold the same.
#[must_use]
pub fn archive_head(images: &[ArchivedImage<'_>]) -> Vec<(&'static str, Vec<u8>)> {
    let mut head = vec![("manifest.json", manifest(images))];
    if has_platforms(images) {
        let index = Index::new(images.iter().map(named).collect());
        let version = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
        head.extend([("index.json", index.to_json()), ("oci-layout", version)]);
    }
    head
}

/// Writes images into one archive; what they share is written once. Returns the writer, unflushed.
pub fn write_archive<W: Write>(images: &[ArchivedImage<'_>], writer: W) -> Result<W, ArchiveError> {
    let mut archive = Builder::new(writer);
    for (path, content) in archive_head(images) {
        append(&mut archive, path, &content)?;
    }
    let mut written = Written::default();
    for image in images {
        if let Some(docker) = image.docker {
            written.add(&mut archive, (image.layout, docker), &BTreeSet::new())?;
        }
    }
    if has_platforms(images) {
        let mut blobs = BTreeSet::new();
        for image in images {
            add_blobs(&mut archive, image, &mut blobs)?;
        }
    }
    archive.into_inner().map_err(ArchiveError::Write)
}

fn has_platforms(images: &[ArchivedImage<'_>]) -> bool {
    images.iter().any(|image| image.descriptor.is_index())
}

fn manifest(images: &[ArchivedImage<'_>]) -> Vec<u8> {
    let of_docker = images
        .iter()
        .filter_map(|image| Some((image.docker?, std::slice::from_ref(&image.tag))));
    docker_manifest(of_docker)
}

/// Containerd, and with it Docker, names what it takes by an annotation of its own.
fn named(image: &ArchivedImage<'_>) -> Descriptor {
    let mut named = image.descriptor.clone();
    for annotation in [
        "org.opencontainers.image.ref.name",
        "io.containerd.image.name",
    ] {
        let name = image.name.to_owned();
        named.annotations.insert(annotation.to_owned(), name);
    }
    named
}

fn add_blobs<W: Write>(
    archive: &mut Builder<W>,
    image: &ArchivedImage<'_>,
    written: &mut BTreeSet<Digest>,
) -> Result<(), ArchiveError> {
    for blob in image.layout.blobs_of(image.descriptor)? {
        if !written.insert(blob.digest) {
            continue;
        }
        let path = format!("blobs/sha256/{}", blob.digest.hex());
        archive
            .append_data(&mut header(blob.size), path, image.layout.reader(&blob)?)
            .map_err(|error| match error.downcast() {
                Ok(error) => ArchiveError::Layout(error),
                Err(error) => ArchiveError::Write(error),
            })?;
    }
    Ok(())
}
