//! The entries of a tar archive, with what their extended headers say.
//!
//! The tar crate's reader is for archives one trusts: it believes an extended header's size and reads long names of
//! any length.

use std::io::{self, Read};

use tar::Header;

use super::Refusal;
use super::extension::{self, Extension};

const BLOCK: usize = 512;
/// Linux takes no longer path.
const PATH_LIMIT: usize = 4096;
/// An extended header holds a path, and attributes of at most 64 KiB each.
const EXTENSION_LIMIT: u64 = 1 << 20;
/// The largest size that twelve octal digits, one of them a terminator, can say.
const OCTAL_LIMIT: u64 = 0o77_777_777_777;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    SymbolicLink,
    HardLink,
    Fifo,
    Device,
}

/// One entry, without its content.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// The parts of the path; none for the root itself.
    pub(super) path: Vec<Box<[u8]>>,
    /// As it is written; empty where the entry is no link.
    pub(super) target: Vec<u8>,
    /// Of the content that follows.
    pub(super) size: u64,
}

/// Reads entries one after the other; in between, their content must be skipped.
pub(super) struct Entries<R> {
    reader: R,
    /// How much content may still come.
    left: u64,
    limit: u64,
}

/// Why there is no next entry, with its path as far as it is known.
pub(super) type Broken = (Option<String>, Refusal);

impl Entry {
    pub(super) fn shown(&self) -> String {
        let parts: Vec<_> = self
            .path
            .iter()
            .map(|part| String::from_utf8_lossy(part))
            .collect();
        parts.join("/")
    }
}

impl<R: Read> Entries<R> {
    pub(super) fn new(reader: R, limit: u64) -> Self {
        Self {
            reader,
            left: limit,
            limit,
        }
    }

    /// The next entry, or the end of the archive after which nothing follows.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Broken> {
        let mut extension = Extension::default();
        loop {
            let Some(header) = self.header().map_err(|reason| (None, reason))? else {
                let end = if extension.is_empty() {
                    self.end()
                } else {
                    Err(Refusal::Extension("belongs to no entry"))
                };
                return end.map(|()| None).map_err(|reason| (None, reason));
            };
            let name = header.path_bytes().into_owned();
            let shown = || Some(String::from_utf8_lossy(&name).into_owned());
            let done = self.one(&header, &mut extension);
            if let Some(entry) = done.map_err(|reason| (shown(), reason))? {
                return Ok(Some(entry));
            }
        }
    }

    /// Reads over the content of an entry.
    pub(super) fn skip(&mut self, size: u64) -> Result<(), Refusal> {
        self.left = self
            .left
            .checked_sub(size)
            .ok_or(Refusal::Content(self.limit))?;
        let padded = size.next_multiple_of(BLOCK as u64);
        let skipped = io::copy(&mut self.reader.by_ref().take(padded), &mut io::sink());
        if skipped.map_err(Refusal::Read)? == padded {
            Ok(())
        } else {
            Err(Refusal::Truncated)
        }
    }

    /// An entry, or nothing where the header was an extension of the next.
    fn one(
        &mut self,
        header: &Header,
        extension: &mut Extension,
    ) -> Result<Option<Entry>, Refusal> {
        let size = header.entry_size().map_err(|_| Refusal::Number("size"))?;
        let kind = match header.entry_type().as_byte() {
            b'x' => return extension.pax(&self.content(size)?).map(|()| None),
            b'g' => return extension::global(&self.content(size)?).map(|()| None),
            b'L' => return extension.long_path(&self.content(size)?).map(|()| None),
            b'K' => return extension.long_target(&self.content(size)?).map(|()| None),
            b'0' | b'7' | 0 => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::SymbolicLink,
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Folder,
            b'6' => Kind::Fifo,
            b'S' => return Err(Refusal::Sparse),
            other => return Err(Refusal::Type(other)),
        };
        let extension = std::mem::take(extension);
        let size = one_size(size, extension.size)?;
        if kind != Kind::File && size > 0 {
            return Err(Refusal::Size(size));
        }
        let path = extension
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let written = || header.link_name_bytes().unwrap_or_default().into_owned();
        let is_link = matches!(kind, Kind::SymbolicLink | Kind::HardLink);
        Ok(Some(Entry {
            kind,
            path: parts(&path, kind)?,
            target: if is_link {
                extension.target.unwrap_or_else(written)
            } else {
                Vec::new()
            },
            size,
        }))
    }

    /// The next header; nothing at the end of the input and at a block of zeros.
    fn header(&mut self) -> Result<Option<Header>, Refusal> {
        let mut header = Header::new_old();
        let read = fill(&mut self.reader, header.as_mut_bytes()).map_err(Refusal::Read)?;
        if read == 0 || (read == BLOCK && header.as_bytes().iter().all(|byte| *byte == 0)) {
            return Ok(None);
        }
        if read < BLOCK {
            return Err(Refusal::Truncated);
        }
        let stated = header.cksum().map_err(|_| Refusal::Number("checksum"))?;
        if stated == checksum(header.as_bytes()) {
            Ok(Some(header))
        } else {
            Err(Refusal::Checksum)
        }
    }

    /// After a block of zeros there are only more of them; some readers stop at the first, others go on.
    fn end(&mut self) -> Result<(), Refusal> {
        let mut block = [0; 16 * BLOCK];
        loop {
            match fill(&mut self.reader, &mut block).map_err(Refusal::Read)? {
                0 => return Ok(()),
                read if block[..read].iter().all(|byte| *byte == 0) => {}
                _ => return Err(Refusal::Trailing),
            }
        }
    }

    /// The content of an extended header.
    fn content(&mut self, size: u64) -> Result<Vec<u8>, Refusal> {
        if size > EXTENSION_LIMIT {
            return Err(Refusal::Extension("is too long"));
        }
        let mut content = Vec::new();
        let padded = size.next_multiple_of(BLOCK as u64);
        let mut taken = self.reader.by_ref().take(padded);
        taken.read_to_end(&mut content).map_err(Refusal::Read)?;
        if (content.len() as u64) < padded {
            return Err(Refusal::Truncated);
        }
        content.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(content)
    }
}

/// Only a size that the header cannot say may be in the extension alone.
fn one_size(header: u64, extension: Option<u64>) -> Result<u64, Refusal> {
    match extension {
        Some(extension) if extension != header && extension <= OCTAL_LIMIT => {
            Err(Refusal::TwoSizes { header, extension })
        }
        Some(extension) => Ok(extension),
        None => Ok(header),
    }
}

/// `./a/b/` is `a/b`. A file's path does not end like a folder's: some readers would make one of it.
fn parts(path: &[u8], kind: Kind) -> Result<Vec<Box<[u8]>>, Refusal> {
    if path.len() > PATH_LIMIT {
        return Err(Refusal::Path("is too long"));
    }
    if path.contains(&0) {
        return Err(Refusal::Path("has a character that is none"));
    }
    if path.starts_with(b"/") {
        return Err(Refusal::Path("is absolute"));
    }
    if kind != Kind::Folder && path.ends_with(b"/") {
        return Err(Refusal::Path("ends with / but is no folder's"));
    }
    let parts = path
        .split(|byte| *byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<Box<[u8]>> = parts.map(Box::from).collect();
    if parts.iter().any(|part| **part == *b"..") {
        return Err(Refusal::Path("has a part `..`"));
    }
    if path.is_empty() || (parts.is_empty() && kind != Kind::Folder) {
        return Err(Refusal::Path("is empty"));
    }
    Ok(parts)
}

/// The sum of the header's bytes, its own field taken as spaces.
fn checksum(header: &[u8; BLOCK]) -> u32 {
    let own = 148..156;
    let bytes = header.iter().enumerate();
    bytes
        .map(|(at, byte)| u32::from(if own.contains(&at) { b' ' } else { *byte }))
        .sum()
}

/// Reads until the buffer is full or the input ends.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
