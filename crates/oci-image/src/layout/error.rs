//! Why a layout cannot do what was asked.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::InvalidConfig;
use crate::{Descriptor, Digest, Platform};

/// Why a layout cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file system refused: no room, no permission, a broken disk.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// `write`, `open`, …
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The folder holds something else.
    #[error("`{}` is no OCI layout: it holds other files and no `oci-layout`", .0.display())]
    Foreign(PathBuf),
    /// `oci-layout` says something that is not understood.
    #[error("`{}` does not say `\"imageLayoutVersion\": \"1.…\"`", .0.display())]
    Version(PathBuf),
    /// `index.json` cannot be read, so no name is known; [`Layout::forget_names`](crate::Layout::forget_names) begins
    /// anew.
    #[error("`{}` is damaged", path.display())]
    DamagedIndex {
        /// The index.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// A text cannot name an image.
    #[error("`{0}` cannot name an image in a layout: letters, digits and . _ - : @ + / are")]
    Name(String),
    /// A blob is not there.
    #[error("blob {} is missing in `{}`", blob.digest, root.display())]
    Missing {
        /// What was looked for.
        blob: Box<Descriptor>,
        /// Where.
        root: PathBuf,
    },
    /// A blob has not the size its descriptor says.
    #[error("blob {} in `{}` is {actual} bytes long, not {}", blob.digest, root.display(), blob.size)]
    WrongSize {
        /// What was looked for.
        blob: Box<Descriptor>,
        /// Where.
        root: PathBuf,
        /// What is there.
        actual: u64,
    },
    /// A blob's content is not the one its name says.
    #[error("blob {} in `{}` is corrupt: its content has the digest {actual}", blob.digest, root.display())]
    Corrupt {
        /// What was looked for.
        blob: Box<Descriptor>,
        /// Where.
        root: PathBuf,
        /// What is there.
        actual: Digest,
    },
    /// What was written is not what was announced.
    #[error("{} bytes with the digest {} were announced, {size} with {digest} came", announced.size, announced.digest)]
    Unexpected {
        /// What should have come.
        announced: Box<Descriptor>,
        /// What came.
        digest: Digest,
        /// Its size.
        size: u64,
    },
    /// A document is too long to be one.
    #[error("{} ({}) is {} bytes long: documents have at most {limit}", .blob.digest, .blob.media_type, .blob.size)]
    TooLong {
        /// The document.
        blob: Box<Descriptor>,
        /// In bytes.
        limit: u64,
    },
    /// A manifest or an index is no such document.
    #[error("{} is no {expected}", blob.digest)]
    Document {
        /// The document.
        blob: Box<Descriptor>,
        /// `manifest`, `index`.
        expected: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// A configuration is none.
    #[error("{} is no configuration of an image", blob.digest)]
    Config {
        /// The document.
        blob: Box<Descriptor>,
        /// The cause.
        #[source]
        source: InvalidConfig,
    },
    /// The configuration and the manifest name another number of layers.
    #[error("{} has {layers} layers, its configuration {diff_ids}", manifest.digest)]
    Layers {
        /// The manifest.
        manifest: Box<Descriptor>,
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// No image for this platform.
    #[error("{digest} has no image for {wanted}; it has {}", listed(available))]
    Platform {
        /// Of the index or manifest.
        digest: Digest,
        /// What was looked for.
        wanted: Box<Platform>,
        /// What is there.
        available: Vec<Platform>,
    },
    /// Indexes in indexes in indexes.
    #[error("{0} nests indexes too deep")]
    Nested(Digest),
}

impl LayoutError {
    /// The blob that has to be made or fetched again, where that would help.
    #[must_use]
    pub fn damaged(&self) -> Option<&Descriptor> {
        match self {
            Self::Missing { blob, .. }
            | Self::WrongSize { blob, .. }
            | Self::Corrupt { blob, .. } => Some(blob),
            _ => None,
        }
    }

    /// For `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

fn listed(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "none that names its platform".to_owned();
    }
    let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    names.join(", ")
}
