//! Copying images between layouts.

use std::fs;
use std::io;

use super::{Layout, LayoutError};
use crate::Descriptor;

/// No manifest or configuration that anybody makes is longer; a blob of that size is read faster than it is copied.
const SMALL: u64 = 1 << 20;

/// Copies an image with all its blobs, without its names; what is there already stays. Every blob's digest is checked
/// on the way, so that damage does not spread, and small ones are replaced that are damaged at the other end.
///
/// Blobs of one file system are linked, which takes no room: nobody changes a blob.
pub fn copy_image(from: &Layout, to: &Layout, image: &Descriptor) -> Result<(), LayoutError> {
    for blob in from.blobs_of(image)? {
        let is_there = to.has(&blob) && (blob.size > SMALL || to.verify_blob(&blob).is_ok());
        if !is_there {
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
        match io::copy(&mut reader, &mut io::sink()).map_err(io::Error::downcast::<LayoutError>) {
            Ok(_) => Ok(()),
            Err(Ok(damage)) => Err(damage),
            Err(Err(error)) => Err(LayoutError::io("read", &self.blob_path(&blob.digest))(
                error,
            )),
        }
    }
}

/// Whether it could be done.
fn link(from: &Layout, to: &Layout, blob: &Descriptor) -> Result<bool, LayoutError> {
    let target = to.blob_path(&blob.digest);
    if target.exists() {
        // It is damaged.
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
