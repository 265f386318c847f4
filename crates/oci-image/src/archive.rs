//! Images as tar archives: what `docker load` and `docker save` exchange, and OCI layouts in one file.
//!
//! Layers are never held in memory whole unless they are small, and nothing is passed on unchecked: a damaged blob is
//! an error that names it.

mod docker;
mod import;
mod several;

use std::io::{self, Write};

use tar::{Builder, EntryType, Header};

use crate::{Descriptor, Digest, LayoutError};

pub use docker::write_docker_archive;
pub use import::read_docker_archive;
pub use several::{ArchivedImage, archive_head, write_archive};

/// No layer of an image anyone runs is longer, decompressed.
const LAYER_LIMIT: u64 = 64 << 30;

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The layout failed; the cause names the blob.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A layer is not what the configuration of its image says.
    #[error("layer {} has the digest {actual} when decompressed, not {expected}", blob.digest)]
    DiffId {
        /// The compressed layer.
        blob: Box<Descriptor>,
        /// In the configuration.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Whoever takes the archive does not take more of it.
    #[error("failed to write the archive")]
    Write(#[source] io::Error),
    /// The archive ends too early, or is none.
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    /// The archive ends too early, is compressed wrongly, or the disk takes no more.
    #[error("failed to store a layer of the archive")]
    Copy(#[source] io::Error),
    /// The archive is not one of one image.
    #[error("the archive holds {0} images, not one")]
    Images(usize),
    /// `manifest.json` cannot be read.
    #[error("`manifest.json` of the archive is damaged")]
    Manifest(#[source] serde_json::Error),
    /// The archive names a file that is not in it.
    #[error("the archive has no file `{0}`")]
    Missing(String),
    /// The configuration and the archive have another number of layers.
    #[error("the archive has {layers} layers, the configuration of its image {diff_ids}")]
    Layers {
        /// In the archive.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// The small files of an archive are kept while it is read; there are too many.
    #[error("the archive holds more than {0} bytes of documents")]
    Documents(u64),
}

impl ArchiveError {
    /// The blob that has to be made or fetched again, where that would help.
    #[must_use]
    pub fn damaged(&self) -> Option<&Descriptor> {
        match self {
            Self::Layout(error) => error.damaged(),
            Self::DiffId { blob, .. } => Some(blob),
            _ => None,
        }
    }
}

/// A file of root's from 1970.
fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn append<W: Write>(
    archive: &mut Builder<W>,
    path: &str,
    content: &[u8],
) -> Result<(), ArchiveError> {
    archive
        .append_data(&mut header(content.len() as u64), path, content)
        .map_err(ArchiveError::Write)
}

#[cfg(test)]
mod tests;
