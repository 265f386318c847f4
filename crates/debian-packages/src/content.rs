//! The bytes of a file before they are in a layer: on disk, and read where they are.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory: small files that are made here.
    Bytes(Arc<[u8]>),
    /// A file of this machine.
    Path(PathBuf),
    /// A part of an unpacked package.
    Spooled(Spooled),
}

/// A part of a spool file.
#[derive(Debug, Clone)]
pub struct Spooled {
    file: Arc<File>,
    offset: u64,
    size: u64,
}

/// A file without a name that unpacked content is appended to.
#[derive(Debug)]
pub(crate) struct Spool {
    file: Arc<File>,
    end: u64,
}

impl Spool {
    pub(crate) fn new(file: File) -> Self {
        Self {
            file: Arc::new(file),
            end: 0,
        }
    }

    /// Appends `size` bytes of `reader`.
    pub(crate) fn append(&mut self, reader: &mut impl Read, size: u64) -> io::Result<Content> {
        let offset = self.end;
        let mut writer = &*self.file;
        let copied = io::copy(&mut reader.take(size), &mut writer)?;
        writer.flush()?;
        self.end += copied;
        if copied != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Content::Spooled(Spooled {
            file: Arc::clone(&self.file),
            offset,
            size,
        }))
    }
}

impl Content {
    /// All bytes, from the first one on.
    pub fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::Bytes(bytes) => Box::new(&bytes[..]),
            Self::Path(path) => Box::new(File::open(path)?),
            Self::Spooled(spooled) => Box::new(SpooledReader {
                spooled,
                position: 0,
            }),
        })
    }

    /// The place of the bytes, which hard links share; none for what is empty or not spooled.
    pub(crate) fn identity(&self) -> Option<(usize, u64)> {
        match self {
            Self::Spooled(spooled) if spooled.size > 0 => {
                Some((Arc::as_ptr(&spooled.file).addr(), spooled.offset))
            }
            _ => None,
        }
    }

    /// Whether both have the same bytes.
    pub(crate) fn equals(&self, other: &Self) -> io::Result<bool> {
        let (mut left, mut right) = (self.reader()?, other.reader()?);
        let (mut one, mut two) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            let (read_one, read_two) = (fill(&mut left, &mut one)?, fill(&mut right, &mut two)?);
            if one[..read_one] != two[..read_two] {
                return Ok(false);
            }
            if read_one == 0 {
                return Ok(true);
            }
        }
    }

    /// The first bytes, fewer where it is shorter.
    pub(crate) fn start(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let read = fill(&mut self.reader()?, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// `length` bytes from `offset` on; `None` where it ends before.
    pub(crate) fn part(&self, offset: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; length];
        let result = match self {
            Self::Bytes(all) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(length);
                return Ok(all.get(start..end).map(<[u8]>::to_vec));
            }
            Self::Path(path) => File::open(path)?.read_exact_at(&mut bytes, offset),
            Self::Spooled(spooled) => {
                if offset.saturating_add(length as u64) > spooled.size {
                    return Ok(None);
                }
                spooled
                    .file
                    .read_exact_at(&mut bytes, spooled.offset + offset)
            }
        };
        match result {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

struct SpooledReader<'a> {
    spooled: &'a Spooled,
    position: u64,
}

impl Read for SpooledReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.spooled.size - self.position;
        let length = buffer
            .len()
            .min(usize::try_from(rest).unwrap_or(usize::MAX));
        let offset = self.spooled.offset + self.position;
        let read = self.spooled.file.read_at(&mut buffer[..length], offset)?;
        self.position += read as u64;
        Ok(read)
    }
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(content: &Content) -> Vec<u8> {
        let mut bytes = Vec::new();
        content.reader().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn parts_of_a_spool_are_read_where_they_are() {
        let mut spool = Spool::new(tempfile::tempfile().unwrap());
        let one = spool.append(&mut &b"hello rest"[..], 5).unwrap();
        let two = spool.append(&mut &b"world"[..], 5).unwrap();
        assert_eq!(
            (all(&one), all(&two)),
            (b"hello".to_vec(), b"world".to_vec())
        );
        assert_eq!(two.part(1, 3).unwrap(), Some(b"orl".to_vec()));
        assert_eq!(one.part(3, 3).unwrap(), None, "not into the next file");
        assert_eq!(one.start(9).unwrap(), b"hello");
        let linked = one.clone();
        assert_eq!(one.identity(), linked.identity());
        assert_ne!(one.identity(), two.identity());
        assert!(one.equals(&Content::Bytes(b"hello"[..].into())).unwrap());
        assert!(!one.equals(&two).unwrap());
        assert!(!one.equals(&Content::Bytes(b"hell"[..].into())).unwrap());
        let cut = spool.append(&mut &b"x"[..], 2).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }
}
