//! Handing a tree to whoever writes the layer.

use std::collections::BTreeMap;
use std::io::Read;

use super::{EntryPath, NodeKind, Tree};

/// Mode and owner of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The owner.
    pub uid: u64,
    /// The owner's group.
    pub gid: u64,
}

/// Takes entries in ascending order of their paths, which have no leading slash.
pub trait TreeSink {
    /// Why an entry was not taken.
    type Error: From<std::io::Error>;

    /// A folder.
    fn directory(&mut self, path: &str, metadata: Metadata) -> Result<(), Self::Error>;

    /// A file of exactly `size` bytes.
    fn file(
        &mut self,
        path: &str,
        metadata: Metadata,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), Self::Error>;

    /// A symbolic link.
    fn symlink(&mut self, path: &str, metadata: Metadata, target: &str) -> Result<(), Self::Error>;

    /// Another name of a file that was given before.
    fn hard_link(&mut self, path: &str, metadata: Metadata, target: &str) -> Result<(), Self::Error>;
}

impl Tree {
    /// Gives all entries to the sink, the content of files as a stream.
    pub fn write<S: TreeSink>(&self, sink: &mut S) -> Result<(), S::Error> {
        let mut written: BTreeMap<(usize, u64), &EntryPath> = BTreeMap::new();
        for (path, node) in &self.nodes {
            let metadata = Metadata {
                mode: node.mode,
                uid: node.uid,
                gid: node.gid,
            };
            match &node.kind {
                NodeKind::Directory => sink.directory(path.as_str(), metadata)?,
                NodeKind::Symlink { target } => sink.symlink(path.as_str(), metadata, target)?,
                NodeKind::File { size, content } => {
                    if let Some(place) = content.identity()
                        && let Some(first) = written.insert(place, path)
                    {
                        written.insert(place, first);
                        sink.hard_link(path.as_str(), metadata, first.as_str())?;
                        continue;
                    }
                    sink.file(path.as_str(), metadata, *size, &mut content.reader()?)?;
                }
            }
        }
        Ok(())
    }
}
