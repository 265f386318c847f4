//! Reading a layer somebody else made, before anything is built on it: one that could write outside the image's root,
//! that hides content from some readers, or that is made to fill a disk, is refused.
//!
//! Readers of tar archives disagree about what is unusual: which of two sizes holds, what follows a link with a size,
//! where an archive ends. What two readers could take for different things is refused as well.

mod entry;
mod extension;
mod stored;
mod tree;

use std::io::{self, Read};

use crate::Digest;
use entry::{Entries, Entry, Kind};
use tree::Tree;

pub use stored::{InspectError, inspect_image};

/// What a layer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerLimits {
    /// Entries, and folders on the way to them.
    pub entries: usize,
    /// The content of all files together, in bytes.
    pub content: u64,
    /// Device nodes are allowed. No image needs them; runtimes bring those of containers.
    pub devices: bool,
}

impl Default for LayerLimits {
    /// A million entries, 32 GiB of content, no devices.
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            content: 32 << 30,
            devices: false,
        }
    }
}

/// What a layer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerContent {
    /// Entries.
    pub entries: usize,
    /// The content of all files together, in bytes.
    pub bytes: u64,
}

/// A layer is not to be used.
#[derive(Debug, thiserror::Error)]
#[error("layer {layer} is refused{}", at(entry.as_deref()))]
pub struct LayerRefused {
    /// As it was given.
    pub layer: Digest,
    /// The path of the entry, as far as it could be read.
    pub entry: Option<String>,
    /// Why.
    #[source]
    pub reason: Refusal,
}

/// Why a layer is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Reading failed, or decompressing, or the content is not the one of the digest.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// The archive ends within an entry.
    #[error("it is cut off")]
    Truncated,
    /// A header's checksum is wrong.
    #[error("it is no tar archive here: the checksum of the header is wrong")]
    Checksum,
    /// Something follows the end of the archive.
    #[error("content follows the end of the archive")]
    Trailing,
    /// A number in a header is none.
    #[error("the header's {0} is no number")]
    Number(&'static str),
    /// A kind of entry that is not known, or that nobody needs in a layer.
    #[error("entries of the type {:?} are not allowed", char::from(*.0))]
    Type(u8),
    /// A device node.
    #[error("it is a device node")]
    Device,
    /// A file with holes, whose size is not the one in the header.
    #[error("it is a sparse file")]
    Sparse,
    /// The path is empty, absolute, too long, or has a part `..`, or a character that is none.
    #[error("the path {0}")]
    Path(&'static str),
    /// A link leads out of the root.
    #[error("it links to `{0}`, outside the root")]
    Outside(String),
    /// A link without a target, or with one that is no path.
    #[error("the target of the link {0}")]
    Target(&'static str),
    /// A hard link to something that is no file in the layer, or a link itself.
    #[error("it is a hard link to `{0}`, which is no file before it in the layer")]
    HardLink(String),
    /// Its path leads through a link, or something else that is no folder.
    #[error("its path leads through `{0}`, which is no folder")]
    Through(String),
    /// Two entries of one path.
    #[error("the layer has another entry of this path")]
    Duplicate,
    /// A marker of removal that removes something else than a neighbour, or is no empty file.
    #[error("it is a forged mark of removal")]
    Whiteout,
    /// Something that has no content has a size.
    #[error("it is no file, but says it is {0} bytes long")]
    Size(u64),
    /// Two sizes.
    #[error("its header says it is {header} bytes long, its extension {extension}")]
    TwoSizes {
        /// In the header.
        header: u64,
        /// In the extension.
        extension: u64,
    },
    /// An extended header that is malformed, says things twice, or is for no entry.
    #[error("its extended header {0}")]
    Extension(&'static str),
    /// More content than is allowed.
    #[error("the content of the layer is longer than {0} bytes")]
    Content(u64),
    /// More entries than are allowed.
    #[error("the layer has more than {0} entries and folders")]
    Entries(usize),
}

/// Reads an uncompressed layer to its end. `layer` is for the error only; limit the reader where it decompresses.
pub fn inspect_layer(
    reader: impl Read,
    layer: Digest,
    limits: &LayerLimits,
) -> Result<LayerContent, LayerRefused> {
    let mut entries = Entries::new(reader, limits.content);
    let mut tree = Tree::new(limits.entries);
    let mut content = LayerContent::default();
    let refused = |entry: Option<&Entry>, reason| LayerRefused {
        layer,
        entry: entry.map(Entry::shown),
        reason,
    };
    loop {
        let entry = match entries.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err((path, reason)) => {
                return Err(LayerRefused {
                    layer,
                    entry: path,
                    reason,
                });
            }
        };
        let checked = check(&entry, limits).and_then(|()| tree.add(&entry));
        checked.map_err(|reason| refused(Some(&entry), reason))?;
        content.bytes += entry.size;
        content.entries += 1;
        let skipped = entries.skip(entry.size);
        skipped.map_err(|reason| refused(Some(&entry), reason))?;
    }
    Ok(content)
}

fn check(entry: &Entry, limits: &LayerLimits) -> Result<(), Refusal> {
    match entry.kind {
        Kind::Device if !limits.devices => Err(Refusal::Device),
        Kind::File | Kind::Folder | Kind::Fifo | Kind::Device => Ok(()),
        Kind::SymbolicLink => check_symlink(entry),
        Kind::HardLink => Ok(()),
    }
}

/// An absolute target begins at the root of the container; a relative one must not climb over it.
fn check_symlink(entry: &Entry) -> Result<(), Refusal> {
    let target = entry.target.as_slice();
    if target.is_empty() {
        return Err(Refusal::Target("is empty"));
    }
    if target.contains(&0) {
        return Err(Refusal::Target("has a character that is none"));
    }
    let mut depth = match target.first() {
        Some(b'/') => 0,
        _ => entry.path.len().saturating_sub(1),
    };
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                depth = depth.checked_sub(1).ok_or_else(|| {
                    Refusal::Outside(String::from_utf8_lossy(target).into_owned())
                })?;
            }
            _ => depth += 1,
        }
    }
    Ok(())
}

fn at(entry: Option<&str>) -> String {
    entry.map_or_else(String::new, |entry| format!(", at `{entry}`"))
}

#[cfg(test)]
mod tests;
