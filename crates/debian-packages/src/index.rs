//! The packages of a suite: `Packages.xz` in a form that is looked up, not read.
//!
//! Of 60 000 packages a build looks at a hundred. So the index is parsed once
//! and kept as a file: a table, sorted by the hash of the name, that says where
//! the paragraph of a package, or of one that provides the name, begins. Only
//! the table is loaded; paragraphs are read when they are asked for.
//!
//! File: 16 bytes of format, the number of entries (u64), the entries (hash of
//! the name u64, place u64, length u32, kind u32), the paragraphs. Numbers are
//! little-endian.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use oci_image::Digest;

use crate::cache::{Cache, CacheError, failed, touch};
use crate::package::{self, FIELDS, InvalidPackage, Package};

const FORMAT: &[u8; 16] = b"debian-index 1\n\0";
const HEADER: usize = FORMAT.len() + 8;
const ENTRY: usize = 24;

/// No index is nearly as long; a longer one would fill memory or disk.
const LONGEST: u64 = 2 << 30;

/// The packages of one component of a suite.
#[derive(Debug)]
pub(crate) struct Index {
    file: File,
    /// The sorted entries.
    table: Vec<u8>,
    /// Which suite of the request this is.
    origin: usize,
}

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The cached form cannot be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The compressed index cannot be read.
    #[error("failed to unpack the index {path}")]
    Unpack {
        /// Below the suite's folder.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A paragraph is not a package.
    #[error("the index lists `{package}` in a way that is not understood")]
    Package {
        /// The name that was looked for.
        package: String,
        /// The cause.
        #[source]
        source: InvalidPackage,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    hash: u64,
    place: u64,
    length: u32,
    kind: u32,
}

/// The paragraph is of the package itself.
const NAMED: u32 = 0;
/// The paragraph is of one that provides the name.
const PROVIDED: u32 = 1;

impl Index {
    /// Opens the parsed form; `None` where there is none (any more).
    pub(crate) fn open(
        cache: &Cache,
        digest: &Digest,
        origin: usize,
    ) -> Result<Option<Self>, IndexError> {
        let path = cache.index(digest);
        let file = match File::options().read(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &path)(error).into()),
        };
        touch(&file);
        match load_table(&file) {
            Ok(Some(table)) => Ok(Some(Self {
                file,
                table,
                origin,
            })),
            // Damaged: it is made anew.
            Ok(None) => Ok(None),
            Err(error) => Err(failed("read", &path)(error).into()),
        }
    }

    /// Parses `packages`, which is compressed as its path says, and keeps the result.
    pub(crate) fn build(
        cache: &Cache,
        digest: &Digest,
        (path, packages): (&str, &Path),
    ) -> Result<(), IndexError> {
        let unpack = |source| IndexError::Unpack {
            path: path.to_owned(),
            source,
        };
        let file = BufReader::new(File::open(packages).map_err(unpack)?);
        let reader: Box<dyn Read> = match path.rsplit_once('.') {
            Some((_, "xz")) => Box::new(liblzma::read::XzDecoder::new_multi_decoder(file)),
            Some((_, "gz")) => Box::new(flate2::read::MultiGzDecoder::new(file)),
            _ => Box::new(file),
        };
        let parsed =
            parse(BufReader::with_capacity(1 << 16, reader.take(LONGEST))).map_err(unpack)?;
        let target = cache.index(digest);
        let mut temporary = cache.temporary()?;
        parsed
            .write(temporary.as_file_mut())
            .map_err(failed("write", &target))?;
        Ok(cache.keep(temporary, &target)?)
    }

    /// The packages of this name, in the index' order.
    pub(crate) fn named(&self, name: &str) -> Result<Vec<Package>, IndexError> {
        let packages = self.lookup(name, NAMED)?;
        // Other names may have the same hash.
        Ok(packages
            .into_iter()
            .filter(|package| package.name == name)
            .collect())
    }

    /// The packages that provide this name.
    pub(crate) fn providing(&self, name: &str) -> Result<Vec<Package>, IndexError> {
        let mut packages = self.lookup(name, PROVIDED)?;
        packages.retain(|package| {
            package
                .provides
                .iter()
                .any(|provided| provided.name == name)
        });
        Ok(packages)
    }

    /// All names of packages; reads the whole file.
    pub(crate) fn names(&self) -> Result<Vec<String>, IndexError> {
        let read = |source| failed("read", Path::new("the cached index"))(source);
        let mut names = Vec::new();
        for entry in self.entries().filter(|entry| entry.kind == NAMED) {
            // The name is the first field.
            let mut start = [0; 128];
            let length = start.len().min(entry.length as usize);
            self.file
                .read_exact_at(&mut start[..length], entry.place)
                .map_err(read)?;
            let line = start[..length]
                .split(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default();
            let name = line.strip_prefix(b"Package: ").unwrap_or_default();
            names.push(String::from_utf8_lossy(name).into_owned());
        }
        Ok(names)
    }

    fn lookup(&self, name: &str, kind: u32) -> Result<Vec<Package>, IndexError> {
        let hash = hash(name);
        let count = self.table.len() / ENTRY;
        let mut first = partition(count, |at| self.entry(at).hash < hash);
        let mut packages = Vec::new();
        while first < count && self.entry(first).hash == hash {
            let entry = self.entry(first);
            first += 1;
            if entry.kind == kind {
                packages.push(self.read(entry, name)?);
            }
        }
        Ok(packages)
    }

    fn read(&self, entry: Entry, name: &str) -> Result<Package, IndexError> {
        let mut text = vec![0; entry.length as usize];
        self.file
            .read_exact_at(&mut text, entry.place)
            .map_err(failed("read", Path::new("the cached index")))?;
        package::parse(&String::from_utf8_lossy(&text), self.origin).map_err(|source| {
            IndexError::Package {
                package: name.to_owned(),
                source,
            }
        })
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        (0..self.table.len() / ENTRY).map(|at| self.entry(at))
    }

    fn entry(&self, at: usize) -> Entry {
        let bytes = &self.table[at * ENTRY..(at + 1) * ENTRY];
        let u64_at = |start: usize| {
            u64::from_le_bytes(bytes[start..start + 8].try_into().expect("eight bytes"))
        };
        let u32_at = |start: usize| {
            u32::from_le_bytes(bytes[start..start + 4].try_into().expect("four bytes"))
        };
        Entry {
            hash: u64_at(0),
            place: u64_at(8),
            length: u32_at(16),
            kind: u32_at(20),
        }
    }
}

/// The table, unless the file is not of this form or not whole.
fn load_table(file: &File) -> io::Result<Option<Vec<u8>>> {
    let length = file.metadata()?.len();
    let mut header = [0; HEADER];
    if length < HEADER as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut header, 0)?;
    let (format, rest) = header.split_at(FORMAT.len());
    let count = u64::from_le_bytes(rest.try_into().expect("eight bytes"));
    let size = count.saturating_mul(ENTRY as u64);
    if format != FORMAT || size.saturating_add(HEADER as u64) > length {
        return Ok(None);
    }
    let mut table = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut table, HEADER as u64)?;
    let end = |entry: &[u8]| {
        let place = u64::from_le_bytes(entry[8..16].try_into().expect("eight bytes"));
        place
            + u64::from(u32::from_le_bytes(
                entry[16..20].try_into().expect("four bytes"),
            ))
    };
    let whole = table.chunks_exact(ENTRY).all(|entry| end(entry) <= length);
    Ok(whole.then_some(table))
}

/// The parsed form before it is written; places count from the first paragraph.
#[derive(Default)]
struct Parsed {
    entries: Vec<Entry>,
    text: Vec<u8>,
}

impl Parsed {
    /// Ends the paragraph that began at `start`.
    fn end(&mut self, start: usize) {
        let paragraph = String::from_utf8_lossy(&self.text[start..]).into_owned();
        let field = |name: &str| {
            let mut lines = paragraph.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let Some(package) = field("Package") else {
            self.text.truncate(start);
            return;
        };
        let mut entry = |name: &str, kind| {
            self.entries.push(Entry {
                hash: hash(name),
                place: start as u64,
                length: (paragraph.len()) as u32,
                kind,
            });
        };
        entry(package.trim(), NAMED);
        for provided in field("Provides").unwrap_or_default().split(',') {
            let provided = provided.trim();
            let end = provided.find([' ', '(', ':']).unwrap_or(provided.len());
            if end > 0 {
                entry(&provided[..end], PROVIDED);
            }
        }
    }

    fn write(mut self, file: &mut File) -> io::Result<()> {
        // The same name may be listed twice in one field.
        self.entries.sort_unstable();
        self.entries.dedup();
        let start = (HEADER + self.entries.len() * ENTRY) as u64;
        let mut bytes = Vec::with_capacity(HEADER + self.entries.len() * ENTRY);
        bytes.extend(FORMAT);
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        for entry in &self.entries {
            bytes.extend(entry.hash.to_le_bytes());
            bytes.extend((entry.place + start).to_le_bytes());
            bytes.extend(entry.length.to_le_bytes());
            bytes.extend(entry.kind.to_le_bytes());
        }
        file.write_all(&bytes)?;
        file.write_all(&self.text)
    }
}

/// Keeps the fields that are used, continuation lines put on the field's line.
fn parse(mut reader: impl BufRead) -> io::Result<Parsed> {
    let mut parsed = Parsed::default();
    let mut line = Vec::new();
    let (mut start, mut keep) = (0, false);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        let content = line.trim_ascii_end();
        if content.is_empty() {
            if parsed.text.len() > start {
                parsed.end(start);
            }
            (start, keep) = (parsed.text.len(), false);
            if read == 0 {
                return Ok(parsed);
            }
        } else if content.starts_with(b" ") || content.starts_with(b"\t") {
            if keep {
                // Only relations are folded among the fields that are kept.
                parsed.text.pop();
                parsed.text.extend(content);
                parsed.text.push(b'\n');
            }
        } else {
            let name = content
                .split(|byte| *byte == b':')
                .next()
                .unwrap_or_default();
            keep = FIELDS.iter().any(|field| field.as_bytes() == name);
            if keep {
                parsed.text.extend(content);
                parsed.text.push(b'\n');
            }
        }
    }
}

/// FNV-1a, 64 bits: the same in every version of this program, unlike the standard library's.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The first of `0..count` for which `below` does not hold.
fn partition(count: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        match below(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::package::tests::paragraph;

    fn index(text: &str) -> (tempfile::TempDir, Cache, Digest) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let digest = Digest::of(text.as_bytes());
        let file = folder.path().join("Packages");
        fs::write(&file, text).unwrap();
        Index::build(&cache, &digest, ("main/Packages", &file)).unwrap();
        (folder, cache, digest)
    }

    fn text() -> String {
        [
            "Package: redis\nVersion: 5:7\nDescription: long\n text\nDepends: redis-server,\n libc6",
            "Package: exim\nVersion: 1\nProvides: mta, mail (= 2), mta",
            "Package: redis\nVersion: 5:6",
            "Package: postfix\nVersion: 1\nProvides: mta:any",
        ]
        .map(paragraph)
        .join("\n")
    }

    #[test]
    fn packages_are_found_by_name_and_by_what_they_provide() {
        let (_folder, cache, digest) = index(&text());
        let index = Index::open(&cache, &digest, 7).unwrap().unwrap();
        let redis = index.named("redis").unwrap();
        let versions: Vec<_> = redis
            .iter()
            .map(|package| package.version.to_string())
            .collect();
        assert_eq!(versions, ["5:7", "5:6"]);
        assert_eq!(redis[0].depends.len(), 2, "a folded field");
        assert_eq!(redis[0].origin, 7);
        let names =
            |packages: Vec<Package>| packages.into_iter().map(|p| p.name).collect::<Vec<_>>();
        assert_eq!(names(index.providing("mta").unwrap()), ["exim", "postfix"]);
        assert_eq!(names(index.providing("mail").unwrap()), ["exim"]);
        assert!(index.named("mta").unwrap().is_empty());
        assert!(index.named("nothing").unwrap().is_empty());
        let mut all = index.names().unwrap();
        all.sort();
        assert_eq!(all, ["exim", "postfix", "redis", "redis"]);
    }

    #[test]
    fn a_damaged_file_counts_as_missing() {
        let (_folder, cache, digest) = index(&text());
        let path = cache.index(&digest);
        let whole = fs::read(&path).unwrap();
        for damaged in [
            &whole[..10],
            &whole[..60],
            &whole[..whole.len() - 1],
            b"debian-index 0\n\0aaaaaaaa",
        ] {
            fs::write(&path, damaged).unwrap();
            assert!(Index::open(&cache, &digest, 0).unwrap().is_none());
        }
        fs::write(&path, &whole).unwrap();
        assert!(Index::open(&cache, &digest, 0).unwrap().is_some());
        assert!(
            Index::open(&cache, &Digest::of(b"other"), 0)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn compressed_indices() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(text().as_bytes()).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text().as_bytes()).unwrap();
        for (path, bytes) in [
            ("Packages.xz", xz.finish().unwrap()),
            ("Packages.gz", gz.finish().unwrap()),
        ] {
            let file = folder.path().join(path);
            let digest = Digest::of(&bytes);
            fs::write(&file, &bytes).unwrap();
            Index::build(&cache, &digest, (path, &file)).unwrap();
            let index = Index::open(&cache, &digest, 0).unwrap().unwrap();
            assert_eq!(index.named("exim").unwrap().len(), 1);
            fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
            assert!(matches!(
                Index::build(&cache, &Digest::of(b"cut"), (path, &file)),
                Err(IndexError::Unpack { .. })
            ));
        }
    }
}
