//! Layers: tar archives whose bytes depend on nothing but what was put in.

mod inspect;
mod sink;

use std::collections::HashSet;
use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

pub use inspect::{
    InspectError, LayerContent, LayerLimits, LayerRefused, Refusal, inspect_image, inspect_layer,
};
pub use sink::{LayerSink, StoredLayer};

/// Why an entry cannot become part of a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The path would not stay inside the layer.
    #[error("`{0}` is not a path inside an image: it must be relative, without `.` and `..`")]
    Path(String),
    /// Paths must ascend, so that the same entries always give the same bytes.
    #[error("`{path}` comes after `{previous}`, but paths must ascend")]
    Order {
        /// The entry that came too late.
        path: String,
        /// The entry before it.
        previous: String,
    },
    /// Only folders hold other entries.
    #[error("`{path}` cannot lie in `{parent}`, which is no folder")]
    Parent {
        /// The entry.
        path: String,
        /// What it would lie in.
        parent: String,
    },
    /// A hard link is another name of a file that the layer holds already.
    #[error("the hard link `{path}` names `{target}`, which is no file before it in the layer")]
    HardLink {
        /// The entry.
        path: String,
        /// What it names.
        target: String,
    },
    /// A mode has twelve bits.
    #[error("`{path}` has the mode {mode:o}, more than 7777")]
    Mode {
        /// The entry.
        path: String,
        /// As given.
        mode: u32,
    },
    /// A file's content did not have the announced size.
    #[error("the content of `{path}` is {actual} bytes long, not {announced}")]
    Size {
        /// The file.
        path: String,
        /// What the header says.
        announced: u64,
        /// What came; at most one more than announced is read.
        actual: u64,
    },
    /// Reading content or writing the archive failed.
    #[error("failed to write `{path}` into the layer")]
    Io {
        /// The entry.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Who may do what with an entry. A mode alone is one of root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permissions, with set-user-ID, set-group-ID and sticky: up to 0o7777.
    pub mode: u32,
    /// The owner.
    pub uid: u64,
    /// The group.
    pub gid: u64,
}

impl From<u32> for Attributes {
    fn from(mode: u32) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
        }
    }
}

/// Writes entries in ascending order of their paths: one time, numeric owners, no names, no extras.
pub struct LayerWriter<W: Write> {
    tar: Builder<W>,
    modified: u64,
    previous: Option<Previous>,
    /// What a hard link may name.
    files: HashSet<String>,
}

struct Previous {
    path: String,
    is_folder: bool,
}

impl<W: Write> LayerWriter<W> {
    /// Every entry gets the time `modified`, in seconds since 1970.
    pub fn new(inner: W, modified: u64) -> Self {
        Self {
            tar: Builder::new(inner),
            modified,
            previous: None,
            files: HashSet::new(),
        }
    }

    /// Adds a folder.
    pub fn directory(
        &mut self,
        path: &str,
        attributes: impl Into<Attributes>,
    ) -> Result<(), LayerError> {
        self.enter(path, true)?;
        let mut header = self.header(path, EntryType::Directory, attributes.into())?;
        self.tar
            .append_data(&mut header, format!("{path}/"), io::empty())
            .map_err(|source| io_error(path, source))
    }

    /// Adds a file of exactly `size` bytes.
    pub fn file(
        &mut self,
        path: &str,
        attributes: impl Into<Attributes>,
        size: u64,
        content: impl Read,
    ) -> Result<(), LayerError> {
        self.enter(path, false)?;
        let mut header = self.header(path, EntryType::Regular, attributes.into())?;
        header.set_size(size);
        // The tar crate copies whatever comes: a file that grows meanwhile would break the archive.
        let mut counted = Counted {
            inner: content.take(size),
            count: 0,
        };
        self.tar
            .append_data(&mut header, path, &mut counted)
            .map_err(|source| io_error(path, source))?;
        let mut rest = counted.inner.into_inner();
        let surplus = rest
            .read(&mut [0])
            .map_err(|source| io_error(path, source))? as u64;
        let actual = counted.count + surplus;
        if actual != size {
            return Err(LayerError::Size {
                path: path.to_owned(),
                announced: size,
                actual,
            });
        }
        self.files.insert(path.to_owned());
        Ok(())
    }

    /// Adds a symbolic link; `target` is stored as it is.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), LayerError> {
        self.symlink_of(path, target, 0o777)
    }

    /// Adds a symbolic link with an owner. Its mode means nothing to Linux.
    pub fn symlink_of(
        &mut self,
        path: &str,
        target: &str,
        attributes: impl Into<Attributes>,
    ) -> Result<(), LayerError> {
        self.enter(path, false)?;
        let mut header = self.header(path, EntryType::Symlink, attributes.into())?;
        self.tar
            .append_link(&mut header, path, target)
            .map_err(|source| io_error(path, source))
    }

    /// Adds another name for the file `target`, which must be in the layer already. It has no attributes of its own:
    /// give those of the file.
    pub fn hard_link(
        &mut self,
        path: &str,
        target: &str,
        attributes: impl Into<Attributes>,
    ) -> Result<(), LayerError> {
        if !self.files.contains(target) {
            return Err(LayerError::HardLink {
                path: path.to_owned(),
                target: target.to_owned(),
            });
        }
        self.enter(path, false)?;
        let mut header = self.header(path, EntryType::Link, attributes.into())?;
        self.tar
            .append_link(&mut header, path, target)
            .map_err(|source| io_error(path, source))
    }

    /// Ends the archive and gives the writer back.
    pub fn finish(self) -> io::Result<W> {
        self.tar.into_inner()
    }

    fn enter(&mut self, path: &str, is_folder: bool) -> Result<(), LayerError> {
        let inside = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !path.split('/').all(inside) || path.contains('\0') {
            return Err(LayerError::Path(path.to_owned()));
        }
        if let Some(previous) = &self.previous {
            if ordered(path).le(ordered(&previous.path)) {
                return Err(LayerError::Order {
                    path: path.to_owned(),
                    previous: previous.path.clone(),
                });
            }
            // In this order what is in a folder comes right after it.
            let below = |parent: &str| {
                path.strip_prefix(parent)
                    .is_some_and(|rest| rest.starts_with('/'))
            };
            if !previous.is_folder && below(&previous.path) {
                return Err(LayerError::Parent {
                    path: path.to_owned(),
                    parent: previous.path.clone(),
                });
            }
        }
        self.previous = Some(Previous {
            path: path.to_owned(),
            is_folder,
        });
        Ok(())
    }

    fn header(
        &self,
        path: &str,
        kind: EntryType,
        attributes: Attributes,
    ) -> Result<Header, LayerError> {
        if attributes.mode > 0o7777 {
            return Err(LayerError::Mode {
                path: path.to_owned(),
                mode: attributes.mode,
            });
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(attributes.mode);
        header.set_uid(attributes.uid);
        header.set_gid(attributes.gid);
        header.set_mtime(self.modified);
        header.set_size(0);
        Ok(header)
    }
}

/// Paths in the order of their parts: a folder stands right before what is in it.
fn ordered(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
}

fn io_error(path: &str, source: io::Error) -> LayerError {
    LayerError::Io {
        path: path.to_owned(),
        source,
    }
}

struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    /// `type mode uid:gid mtime size path [-> target]`, one line an entry.
    fn listing(tar: &[u8]) -> Vec<String> {
        tar::Archive::new(tar)
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let target = entry.link_name().unwrap();
                format!(
                    "{:?} {:o} {}:{} {} {} {}{}",
                    header.entry_type(),
                    header.mode().unwrap(),
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap(),
                    header.size().unwrap(),
                    entry.path().unwrap().display(),
                    target.map_or_else(String::new, |target| format!(" -> {}", target.display())),
                )
            })
            .collect()
    }

    fn layer() -> Vec<u8> {
        let mut layer = LayerWriter::new(Vec::new(), 7);
        layer.directory("assets", 0o755).unwrap();
        layer.file("assets/a.txt", 0o644, 2, &b"hi"[..]).unwrap();
        layer.symlink("assets/b", "a.txt").unwrap();
        layer.file("assets-x", 0o644, 0, io::empty()).unwrap();
        layer.file("birthday", 0o555, 3, &b"ELF"[..]).unwrap();
        layer.finish().unwrap()
    }

    #[test]
    fn the_listing_holds_what_was_put_in() {
        assert_eq!(
            listing(&layer()),
            [
                "Directory 755 0:0 7 0 assets/",
                "Regular 644 0:0 7 2 assets/a.txt",
                "Symlink 777 0:0 7 0 assets/b -> a.txt",
                "Regular 644 0:0 7 0 assets-x",
                "Regular 555 0:0 7 3 birthday",
            ]
        );
        assert_eq!(Digest::of(&layer()), Digest::of(&layer()));
    }

    /// Golden: a change here changes the digest of every image, so raise the format version of the input digest too.
    #[test]
    fn the_bytes_of_a_one_file_layer_are_fixed() {
        let mut layer = LayerWriter::new(Vec::new(), 0);
        layer.file("birthday", 0o555, 3, &b"ELF"[..]).unwrap();
        let bytes = layer.finish().unwrap();
        assert_eq!(bytes.len(), 512 + 512 + 1024);
        assert_eq!(&bytes[..8], b"birthday");
        assert_eq!(&bytes[257..265], b"ustar  \0", "GNU format");
        assert_eq!(&bytes[265..329], &[0; 64], "no owner names");
        assert_eq!(&bytes[512..516], b"ELF\0");
    }

    #[test]
    fn long_paths_and_paths_outside() {
        let long = format!("{}/file", "folder/".repeat(40).trim_end_matches('/'));
        let mut layer = LayerWriter::new(Vec::new(), 0);
        layer.file(&long, 0o644, 1, &b"x"[..]).unwrap();
        let bytes = layer.finish().unwrap();
        assert_eq!(listing(&bytes), [format!("Regular 644 0:0 0 1 {long}")]);
        for bad in ["/etc/passwd", "../x", "a/../b", "a//b", "", ".", "a/"] {
            let mut layer = LayerWriter::new(Vec::new(), 0);
            let refused = layer.file(bad, 0o644, 0, io::empty()).unwrap_err();
            assert!(matches!(refused, LayerError::Path(_)), "{bad}");
        }
    }

    #[test]
    fn entries_out_of_order_and_lying_sizes_are_refused() {
        let mut layer = LayerWriter::new(Vec::new(), 0);
        layer.file("b", 0o644, 0, io::empty()).unwrap();
        for path in ["a", "b"] {
            let refused = layer.file(path, 0o644, 0, io::empty()).unwrap_err();
            assert!(matches!(refused, LayerError::Order { .. }), "{path}");
        }
        for (size, expected) in [(1, 2), (3, 2)] {
            let mut layer = LayerWriter::new(Vec::new(), 0);
            let refused = layer.file("f", 0o644, size, &b"hi"[..]).unwrap_err();
            assert!(
                matches!(refused, LayerError::Size { actual, .. } if actual == expected),
                "{refused}"
            );
        }
    }

    #[test]
    fn packages_bring_owners_special_bits_and_hard_links() {
        let games = |mode| Attributes {
            mode,
            uid: 5,
            gid: 60,
        };
        let mut layer = LayerWriter::new(Vec::new(), 0);
        layer.directory("tmp", 0o1777).unwrap();
        layer.directory("usr", 0o755).unwrap();
        layer
            .file("usr/chess", games(0o2755), 1, &b"x"[..])
            .unwrap();
        layer
            .hard_link("usr/mate", "usr/chess", games(0o2755))
            .unwrap();
        layer.symlink_of("usr/tic", "tac", games(0o777)).unwrap();
        let large = Attributes {
            mode: 0o4755,
            uid: 3_000_000_000,
            gid: 0,
        };
        layer.file("usr/x", large, 0, io::empty()).unwrap();
        assert_eq!(
            listing(&layer.finish().unwrap()),
            [
                "Directory 1777 0:0 0 0 tmp/",
                "Directory 755 0:0 0 0 usr/",
                "Regular 2755 5:60 0 1 usr/chess",
                "Link 2755 5:60 0 0 usr/mate -> usr/chess",
                "Symlink 777 5:60 0 0 usr/tic -> tac",
                "Regular 4755 3000000000:0 0 0 usr/x",
            ]
        );
    }

    #[test]
    fn what_no_engine_could_unpack_is_refused() {
        let mut layer = LayerWriter::new(Vec::new(), 0);
        layer.file("a", 0o644, 0, io::empty()).unwrap();
        let refused = layer.file("a/b", 0o644, 0, io::empty()).unwrap_err();
        assert!(matches!(refused, LayerError::Parent { .. }), "{refused}");
        layer.symlink("b", "/etc").unwrap();
        let refused = layer.directory("b/c", 0o755).unwrap_err();
        assert!(matches!(refused, LayerError::Parent { .. }), "{refused}");
        for target in ["b", "z", "c", "/a", "../a"] {
            let refused = layer.hard_link("c", target, 0o644).unwrap_err();
            assert!(matches!(refused, LayerError::HardLink { .. }), "{target}");
        }
        let refused = layer.directory("c", 0o40755).unwrap_err();
        assert!(matches!(refused, LayerError::Mode { .. }), "{refused}");
    }
}
