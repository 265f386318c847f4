//! Layers: tar archives whose bytes depend on nothing but what was put in.

use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

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

/// Writes entries in ascending order of their paths: one time, numeric owner 0, no names, no extras.
pub struct LayerWriter<W: Write> {
    tar: Builder<W>,
    modified: u64,
    previous: Option<String>,
}

impl<W: Write> LayerWriter<W> {
    /// Every entry gets the time `modified`, in seconds since 1970.
    pub fn new(inner: W, modified: u64) -> Self {
        Self {
            tar: Builder::new(inner),
            modified,
            previous: None,
        }
    }

    /// Adds a folder.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<(), LayerError> {
        self.enter(path)?;
        let mut header = self.header(EntryType::Directory, mode, 0);
        self.tar
            .append_data(&mut header, format!("{path}/"), io::empty())
            .map_err(|source| io_error(path, source))
    }

    /// Adds a file of exactly `size` bytes.
    pub fn file(
        &mut self,
        path: &str,
        mode: u32,
        size: u64,
        content: impl Read,
    ) -> Result<(), LayerError> {
        self.enter(path)?;
        let mut header = self.header(EntryType::Regular, mode, size);
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
        if actual == size {
            Ok(())
        } else {
            Err(LayerError::Size {
                path: path.to_owned(),
                announced: size,
                actual,
            })
        }
    }

    /// Adds a symbolic link; `target` is stored as it is.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), LayerError> {
        self.enter(path)?;
        let mut header = self.header(EntryType::Symlink, 0o777, 0);
        self.tar
            .append_link(&mut header, path, target)
            .map_err(|source| io_error(path, source))
    }

    /// Ends the archive and gives the writer back.
    pub fn finish(self) -> io::Result<W> {
        self.tar.into_inner()
    }

    fn enter(&mut self, path: &str) -> Result<(), LayerError> {
        let inside = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !path.split('/').all(inside) || path.contains('\0') {
            return Err(LayerError::Path(path.to_owned()));
        }
        if let Some(previous) = &self.previous
            && ordered(path).le(ordered(previous))
        {
            return Err(LayerError::Order {
                path: path.to_owned(),
                previous: previous.clone(),
            });
        }
        self.previous = Some(path.to_owned());
        Ok(())
    }

    fn header(&self, kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.modified);
        header.set_size(size);
        header
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
}
