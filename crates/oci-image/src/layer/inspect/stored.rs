//! Inspecting the layers of an image that was pulled: content, digests and harmlessness in one reading.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::{LayerContent, LayerLimits, LayerRefused, Refusal, inspect_layer};
use crate::{Decompressor, Descriptor, Digest, Layout, LayoutError, StoredImage};

/// Headers and padding of an entry, with an extended header: more than that is a trick of its own.
const BYTES_PER_ENTRY: u64 = 8 << 10;

/// Why an image is not to be built on.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A layer cannot be read, or is damaged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A layer is harmful.
    #[error(transparent)]
    Refused(#[from] LayerRefused),
    /// A layer is not what the configuration of its image says.
    #[error("layer {} has the digest {actual} when decompressed, not {expected}", blob.digest)]
    DiffId {
        /// The compressed layer.
        blob: Box<Descriptor>,
        /// In the configuration.
        expected: Digest,
        /// What is there.
        actual: Digest,
    },
}

/// Reads all layers of an image: their digests are right, compressed and not, and none is refused. The limits hold
/// for each layer.
pub fn inspect_image(
    layout: &Layout,
    image: &StoredImage,
    limits: &LayerLimits,
) -> Result<LayerContent, InspectError> {
    let mut sum = LayerContent::default();
    for (diff_id, blob) in image.layers() {
        let content = inspect_blob(layout, blob, diff_id, limits)?;
        sum.entries += content.entries;
        sum.bytes += content.bytes;
    }
    Ok(sum)
}

fn inspect_blob(
    layout: &Layout,
    blob: &Descriptor,
    diff_id: Digest,
    limits: &LayerLimits,
) -> Result<LayerContent, InspectError> {
    let overhead = (limits.entries as u64).saturating_mul(BYTES_PER_ENTRY);
    let limit = limits.content.saturating_add(overhead);
    let failed = |error: io::Error| match layout.read_error(blob, error) {
        LayoutError::Io { source, .. } => InspectError::Refused(LayerRefused {
            layer: blob.digest,
            entry: None,
            reason: Refusal::Read(source),
        }),
        damage => InspectError::Layout(damage),
    };
    let mut layer = Hashing {
        inner: Decompressor::new(layout.reader(blob)?, limit).map_err(failed)?,
        hasher: Sha256::new(),
    };
    let content = match inspect_layer(&mut layer, blob.digest, limits) {
        // A damaged blob says nothing about the layer.
        Err(LayerRefused {
            reason: Refusal::Read(error),
            ..
        }) => return Err(failed(error)),
        other => other?,
    };
    layer.inner.drain().map_err(failed)?;
    let actual = Digest::from_hasher(layer.hasher);
    if actual == diff_id {
        Ok(content)
    } else {
        Err(InspectError::DiffId {
            blob: Box::new(blob.clone()),
            expected: diff_id,
            actual,
        })
    }
}

/// Digests what is read.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
