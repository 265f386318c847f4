//! Package files (`.deb`): read as what they contain, without dpkg, tar or root.
//!
//! An `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*`. Nothing
//! is unpacked to where its path says and no script runs: what comes out is a
//! list of entries.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use tar::{Archive, EntryType};

use crate::content::{Content, Spool};

/// More than any package has, so that a small file cannot fill the disk.
const LONGEST_DATA: u64 = 16 << 30;
const LONGEST_CONTROL: u64 = 64 << 20;
const MOST_ENTRIES: usize = 1 << 20;

/// An opened package file.
#[derive(Debug)]
pub(crate) struct Deb {
    file: File,
    control: Member,
    data: Member,
}

/// The control files of a package that are used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// The paragraph `control`.
    pub(crate) paragraph: String,
    /// Lines of MD5 hash and path.
    pub(crate) md5sums: String,
}

/// Something that a package puts into the file system.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Relative, without `.` and `..`.
    pub(crate) path: String,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) kind: EntryKind,
}

#[derive(Debug, Clone)]
pub(crate) enum EntryKind {
    Directory,
    /// Hard links have the same content.
    File {
        size: u64,
        content: Content,
    },
    Symlink {
        target: String,
    },
}

/// Why a file is not a package that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebError {
    /// Reading failed, or the compressed data is damaged or cut off.
    #[error("failed to read {part}")]
    Read {
        /// The part of the package.
        part: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is not an `ar` archive of the right members.
    #[error("it is not a Debian package: {0}")]
    Format(&'static str),
    /// A member is compressed in a way that is not known.
    #[error("its member `{0}` is compressed in a way that is not known: xz, gz, zst and none are")]
    Compression(String),
    /// A path leads out of the image, or is no text.
    #[error("it contains the path `{0}`, which does not stay inside an image")]
    Path(String),
    /// Devices and the like.
    #[error("it contains `{path}`, which is neither file, folder nor link ({kind})")]
    Kind {
        /// The entry.
        path: String,
        /// What it is.
        kind: String,
    },
    /// The same path comes twice.
    #[error("it contains `{0}` twice")]
    Twice(String),
    /// A hard link to nothing.
    #[error("its hard link `{path}` leads to `{target}`, which is not a file before it")]
    HardLink {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// It is too large to be true.
    #[error("it unpacks to more than {0}")]
    TooLarge(&'static str),
}

#[derive(Debug, Clone)]
struct Member {
    name: String,
    offset: u64,
    size: u64,
}

impl Deb {
    /// Finds the members.
    pub(crate) fn open(path: &Path) -> Result<Self, DebError> {
        let read = |source| read_error("the file", source);
        let mut file = File::open(path).map_err(read)?;
        let members = members(&mut file)?;
        let mut files = members
            .into_iter()
            .filter(|member| !member.name.starts_with('_'));
        let version = files.next().filter(|member| member.name == "debian-binary");
        let version = version.ok_or(DebError::Format("it does not begin with `debian-binary`"))?;
        let mut text = String::new();
        part(&file, &version)?
            .take(16)
            .read_to_string(&mut text)
            .map_err(read)?;
        if !text.starts_with("2.") {
            return Err(DebError::Format("its format is not 2.x"));
        }
        let mut next = |prefix: &str, missing| {
            let member = files
                .next()
                .filter(|member| member.name.starts_with(prefix));
            member.ok_or(DebError::Format(missing))
        };
        let control = next("control.tar", "`control.tar` does not follow")?;
        let data = next("data.tar", "`data.tar` does not follow")?;
        Ok(Self {
            file,
            control,
            data,
        })
    }

    /// The control paragraph and the hashes.
    pub(crate) fn control(&self) -> Result<Control, DebError> {
        let mut control = Control::default();
        let read = |source| read_error(&self.control.name, source);
        let mut archive = Archive::new(self.unpacked(&self.control, LONGEST_CONTROL)?);
        for entry in archive.entries().map_err(read)? {
            let mut entry = entry.map_err(read)?;
            let path = entry.path_bytes().into_owned();
            let target = match path.strip_prefix(b"./").unwrap_or(&path) {
                b"control" => &mut control.paragraph,
                b"md5sums" => &mut control.md5sums,
                _ => continue,
            };
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(read)?;
            *target = String::from_utf8_lossy(&bytes).into_owned();
        }
        match control.paragraph.is_empty() {
            true => Err(DebError::Format("it has no control file")),
            false => Ok(control),
        }
    }

    /// The entries for whose path `keep` holds; their content goes into the spool.
    pub(crate) fn entries(
        &self,
        spool: &mut Spool,
        keep: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Entry>, DebError> {
        let mut extra = Vec::new();
        loop {
            let wanted = |path: &str| keep(path) || extra.iter().any(|name| name == path);
            match self.read_entries(spool, &wanted)? {
                Ok(mut entries) => {
                    entries.retain(|entry| keep(&entry.path));
                    return Ok(entries);
                }
                // A link that is kept leads to a file that is not: its content is needed.
                Err(Dangling { path, target }) if extra.contains(&target) => {
                    return Err(DebError::HardLink { path, target });
                }
                Err(dangling) => extra.push(dangling.target),
            }
        }
    }

    fn read_entries(
        &self,
        spool: &mut Spool,
        keep: &dyn Fn(&str) -> bool,
    ) -> Result<Result<Vec<Entry>, Dangling>, DebError> {
        let read = |source| read_error(&self.data.name, source);
        let mut archive = Archive::new(self.unpacked(&self.data, LONGEST_DATA)?);
        let mut entries: Vec<Entry> = Vec::new();
        let mut places = std::collections::BTreeMap::new();
        for (count, entry) in archive.entries().map_err(read)?.enumerate() {
            let mut entry = entry.map_err(read)?;
            if count >= MOST_ENTRIES {
                return Err(DebError::TooLarge("a million entries"));
            }
            let Some(path) = inner_path(&entry.path_bytes())? else {
                continue; // the root folder
            };
            let kind = kind(&mut entry, &path)?;
            if !keep(&path) {
                continue;
            }
            let kind = match kind {
                RawKind::Directory => EntryKind::Directory,
                RawKind::Symlink(target) => EntryKind::Symlink { target },
                RawKind::File(size) => {
                    let content = spool.append(&mut entry, size).map_err(read)?;
                    EntryKind::File { size, content }
                }
                RawKind::HardLink(target) => match places.get(&target) {
                    Some(&place) => Entry::clone(&entries[place]).kind,
                    None => return Ok(Err(Dangling { path, target })),
                },
            };
            let header = entry.header();
            let entry = Entry {
                mode: header.mode().map_err(read)? & 0o7777,
                uid: header.uid().map_err(read)?,
                gid: header.gid().map_err(read)?,
                path: path.clone(),
                kind,
            };
            let is_folder = matches!(entry.kind, EntryKind::Directory);
            let before = places.insert(path.clone(), entries.len());
            match before.map(|place| &entries[place].kind) {
                None => entries.push(entry),
                Some(EntryKind::Directory) if is_folder => {}
                Some(_) => return Err(DebError::Twice(path)),
            }
        }
        Ok(Ok(entries))
    }

    fn unpacked(&self, member: &Member, longest: u64) -> Result<Box<dyn Read>, DebError> {
        let packed = BufReader::with_capacity(1 << 16, part(&self.file, member)?);
        let extension = member
            .name
            .split_once(".tar")
            .map_or("", |(_, extension)| extension);
        let unpacked: Box<dyn Read> = match extension {
            "" => Box::new(packed),
            ".xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(packed)),
            ".gz" => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            ".zst" => {
                let decoder = zstd::stream::read::Decoder::with_buffer(packed);
                Box::new(decoder.map_err(|source| read_error(&member.name, source))?)
            }
            _ => return Err(DebError::Compression(member.name.clone())),
        };
        Ok(Box::new(Bounded {
            inner: unpacked,
            left: longest,
        }))
    }
}

/// A hard link to a file that was not kept.
struct Dangling {
    path: String,
    target: String,
}

enum RawKind {
    Directory,
    File(u64),
    Symlink(String),
    HardLink(String),
}

fn kind<R: Read>(entry: &mut tar::Entry<'_, R>, path: &str) -> Result<RawKind, DebError> {
    let link = |entry: &tar::Entry<'_, R>| entry.link_name_bytes().map(|name| name.into_owned());
    match entry.header().entry_type() {
        EntryType::Directory => Ok(RawKind::Directory),
        EntryType::Regular | EntryType::Continuous => Ok(RawKind::File(entry.size())),
        EntryType::Symlink => {
            let target = link(entry).unwrap_or_default();
            match String::from_utf8(target) {
                Ok(target) if !target.is_empty() && !target.contains('\0') => {
                    Ok(RawKind::Symlink(target))
                }
                _ => Err(DebError::Path(format!("{path} -> ?"))),
            }
        }
        EntryType::Link => match inner_path(&link(entry).unwrap_or_default())? {
            Some(target) => Ok(RawKind::HardLink(target)),
            None => Err(DebError::Path(path.to_owned())),
        },
        other => Err(DebError::Kind {
            path: path.to_owned(),
            kind: format!("{other:?}"),
        }),
    }
}

/// `./usr/bin/` as `usr/bin`; `None` for the root itself.
fn inner_path(bytes: &[u8]) -> Result<Option<String>, DebError> {
    let refused = || DebError::Path(String::from_utf8_lossy(bytes).into_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| refused())?;
    let path = text
        .strip_prefix("./")
        .unwrap_or(text)
        .trim_end_matches('/');
    if matches!(text, "." | "./") {
        return Ok(None);
    }
    let inside = |part: &str| !part.is_empty() && part != "." && part != "..";
    match path.split('/').all(inside) && !path.contains(['\0', '\n']) {
        true => Ok(Some(path.to_owned())),
        false => Err(refused()),
    }
}

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER: u64 = 60;

/// The members of an `ar` archive; each must lie inside the file.
fn members(file: &mut File) -> Result<Vec<Member>, DebError> {
    let read = |source| read_error("the file", source);
    let length = file.metadata().map_err(read)?.len();
    let mut magic = [0; 8];
    if length < 8 || file.read_exact(&mut magic).is_err() || &magic != MAGIC {
        return Err(DebError::Format("it is not an `ar` archive"));
    }
    let mut members = Vec::new();
    let mut position = 8;
    while position < length {
        let mut header = [0; HEADER as usize];
        if position + HEADER > length {
            return Err(DebError::Format("it is cut off"));
        }
        file.seek(SeekFrom::Start(position)).map_err(read)?;
        file.read_exact(&mut header).map_err(read)?;
        let member = member(&header, position + HEADER)
            .ok_or(DebError::Format("a member has no valid header"))?;
        let end = member.offset.saturating_add(member.size);
        if end > length {
            return Err(DebError::Format("it is cut off"));
        }
        position = end + end % 2;
        members.push(member);
    }
    Ok(members)
}

fn member(header: &[u8], offset: u64) -> Option<Member> {
    let text = std::str::from_utf8(header).ok()?;
    if !text.ends_with("`\n") || !text.is_ascii() {
        return None;
    }
    let name = text[..16].trim_end().trim_end_matches('/');
    let size = text[48..58].trim_end();
    let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
    Some(Member {
        name: name.to_owned(),
        offset,
        size: size.parse().ok().filter(|_| digits)?,
    })
}

fn part(file: &File, member: &Member) -> Result<io::Take<File>, DebError> {
    let read = |source| read_error(&member.name, source);
    let mut file = file.try_clone().map_err(read)?;
    file.seek(SeekFrom::Start(member.offset)).map_err(read)?;
    Ok(file.take(member.size))
}

fn read_error(part: &str, source: io::Error) -> DebError {
    if source.get_ref().is_some_and(|inner| inner.is::<Overflow>()) {
        return DebError::TooLarge("any package does");
    }
    DebError::Read {
        part: part.to_owned(),
        source,
    }
}

/// Fails where more comes than there may be.
struct Bounded<R> {
    inner: R,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("too much data")]
struct Overflow;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other(Overflow))?;
        Ok(read)
    }
}

#[cfg(test)]
pub(crate) mod tests;
