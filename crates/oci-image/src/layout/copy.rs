//! Copying images between layouts.

use std::fs;
use std::io;

use super::{Layout, LayoutError};
use crate::Descriptor;

/// Copies an image with all its blobs, without its names; what is there already stays. Every blob's digest is checked
/// on the way, so that damage does not spread.
///
/// Blobs of one file system are linked, which takes no room: nobody changes a blob.
pub fn copy_image(from: &Layout, to: &Layout, image: &Descriptor) -> Result<(), LayoutError> {
    for blob in from.blobs_of(image)? {
        if !to.has(&blob) {
            from.verify_blob(&blob)?;
            if !link(from, to, &blob)? {
                copy(from, to, &blob)?;
            }
        }
    }
    Ok(())
}

impl Layout {
    /// Digests an image with all its blobs.
    pub fn verify(&self, image: &Descriptor) -> Result<(), LayoutError> {
        self.blobs_of(image)?
            .iter()
            .try_for_each(|blob| self.verify_blob(blob))
    }

    pub(super) fn verify_blob(&self, blob: &Descriptor) -> Result<(), LayoutError> {
        let mut reader = self.reader(blob)?;
        io::copy(&mut reader, &mut io::sink()).map_err(|error| self.read_error(blob, error))?;
        Ok(())
    }
}

/// Whether it could be done.
fn link(from: &Layout, to: &Layout, blob: &Descriptor) -> Result<bool, LayoutError> {
    let target = to.blob_path(&blob.digest);
    if target.exists() {
        // `has` found another size there.
        to.discard(blob)?;
    }
    match fs::hard_link(from.blob_path(&blob.digest), &target) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Ok(false),
        _ => Ok(true),
    }
}

/// `fs::copy` shares the blocks where the file system can.
fn copy(from: &Layout, to: &Layout, blob: &Descriptor) -> Result<(), LayoutError> {
    let file = to.temporary()?;
    let target = to.blob_path(&blob.digest);
    fs::copy(from.blob_path(&blob.digest), file.path())
        .map_err(LayoutError::io("write", &target))?;
    to.persist(file, &target)
}
