//! Lock files: the exact packages of an image, so that it can be built again without an index.
//!
//! One line a package, sorted, so that a change reads as what it is. The hash of
//! a package came from a signed index when the lock was written; from then on it
//! is what a download is checked against.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use oci_image::Digest;

use crate::package::SourcePackage;
use crate::relation::is_package_name;
use crate::version::Version;

const HEAD: &str = "\
# The Debian packages of an image, each with its hash. Written by
# `stackctl build --update-packages`; changes by hand are lost.
format 1
";

/// The locks of an image, by Debian's name of the architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockFile {
    /// One for every platform of the image.
    pub locks: BTreeMap<String, Lock>,
}

/// The packages of an image for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Of the request that it answers, see [`crate::Request::digest`].
    pub request: Digest,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// The suites as they were.
    pub suites: Vec<LockedSuite>,
    /// What was excluded and would have been needed.
    pub left_out: Vec<LeftOut>,
    /// Sorted by name.
    pub packages: Vec<LockedPackage>,
}

/// A suite as it was when the lock was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedSuite {
    /// The archive.
    pub uri: String,
    /// E.g. `bookworm-security`.
    pub name: String,
    /// When the archive last changed it.
    pub date: Timestamp,
    /// The fingerprint of the key that signed it.
    pub signed_by: String,
}

/// An excluded package that something depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The excluded package.
    pub name: String,
    /// Those that depend on it.
    pub needed_by: Vec<String>,
}

/// A package in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// What it was built from; vulnerabilities are reported against that.
    pub source: SourcePackage,
    /// Of the `.deb` file.
    pub digest: Digest,
    /// Of the `.deb` file, in bytes.
    pub size: u64,
    /// Where in [`Lock::suites`] its suite is.
    pub suite: usize,
    /// Of the `.deb` file, below the archive.
    pub path: String,
}

/// Why a text is no lock file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the lock file {problem}; `stackctl build --update-packages` writes it anew"
)]
pub struct InvalidLock {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Lock {
    /// All packages, sorted by name.
    #[must_use]
    pub fn packages(&self) -> &[LockedPackage] {
        &self.packages
    }

    /// The distribution's code name, as in `distro=bookworm` of a package URL.
    #[must_use]
    pub fn distribution(&self) -> Option<&str> {
        let name = &self.suites.first()?.name;
        name.split(['-', '/']).next()
    }
}

impl fmt::Display for LockFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for lock in self.locks.values() {
            write!(f, "\n{lock}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "architecture {}", self.architecture)?;
        writeln!(f, "request {}", self.request)?;
        for suite in &self.suites {
            let LockedSuite {
                uri,
                name,
                date,
                signed_by,
            } = suite;
            writeln!(f, "suite {uri} {name} {date} {signed_by}")?;
        }
        for LeftOut { name, needed_by } in &self.left_out {
            writeln!(f, "left-out {name} {}", needed_by.join(" "))?;
        }
        for package in &self.packages {
            writeln!(
                f,
                "package {} {} {} {} {} {} {} {} {}",
                package.name,
                package.version,
                package.architecture,
                package.digest,
                package.size,
                package.suite + 1,
                package.path,
                package.source.name,
                package.source.version,
            )?;
        }
        Ok(())
    }
}

impl FromStr for LockFile {
    type Err = InvalidLock;

    fn from_str(text: &str) -> Result<Self, InvalidLock> {
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.split_whitespace().collect::<Vec<_>>()))
            .filter(|(_, words)| words.first().is_some_and(|word| !word.starts_with('#')));
        match lines.next() {
            Some((_, words)) if words == ["format", "1"] => {}
            other => {
                let line = other.map_or(1, |(line, _)| line);
                return Err(InvalidLock {
                    line,
                    problem: "is not `format 1`",
                });
            }
        }
        let mut file = Self::default();
        let mut lock: Option<Lock> = None;
        let mut last_line = 1;
        for (line, words) in lines {
            last_line = line;
            let invalid = |problem| InvalidLock { line, problem };
            if let ["architecture", name] = words[..] {
                file.add(lock.take(), line)?;
                lock = Some(Lock::new(name));
                continue;
            }
            let lock = lock
                .as_mut()
                .ok_or(invalid("stands before the first `architecture`"))?;
            lock.read_line(&words).map_err(invalid)?;
        }
        file.add(lock, last_line)?;
        Ok(file)
    }
}

impl LockFile {
    fn add(&mut self, lock: Option<Lock>, line: usize) -> Result<(), InvalidLock> {
        let Some(lock) = lock else {
            return Ok(());
        };
        let invalid = |problem| Err(InvalidLock { line, problem });
        if lock.request == Digest::of(&[]) {
            return invalid("ends an architecture without `request`");
        }
        if !lock.packages.is_sorted_by(|one, next| one.name < next.name) {
            return invalid("ends a list of packages that is not sorted by name");
        }
        match self.locks.insert(lock.architecture.clone(), lock) {
            None => Ok(()),
            Some(_) => invalid("ends an architecture that is there twice"),
        }
    }
}

impl Lock {
    fn new(architecture: &str) -> Self {
        Self {
            request: Digest::of(&[]),
            architecture: architecture.to_owned(),
            suites: Vec::new(),
            left_out: Vec::new(),
            packages: Vec::new(),
        }
    }

    fn read_line(&mut self, words: &[&str]) -> Result<(), &'static str> {
        match *words {
            ["request", digest] => {
                self.request = digest.parse().map_err(|_| "has no hash of the request")?;
            }
            ["suite", uri, name, date, signed_by] => self.suites.push(LockedSuite {
                uri: uri.to_owned(),
                name: name.to_owned(),
                date: date.parse().map_err(|_| "has no date")?,
                signed_by: signed_by.to_owned(),
            }),
            ["left-out", name, ref needed_by @ ..] => self.left_out.push(LeftOut {
                name: name.to_owned(),
                needed_by: needed_by.iter().map(|&name| name.to_owned()).collect(),
            }),
            ["package", ref rest @ ..] => {
                let package = package(rest)?;
                if package.suite >= self.suites.len() {
                    return Err("names a suite that is not there");
                }
                self.packages.push(package);
            }
            _ => return Err("is not understood"),
        }
        Ok(())
    }
}

fn package(words: &[&str]) -> Result<LockedPackage, &'static str> {
    let &[
        name,
        version,
        architecture,
        digest,
        size,
        suite,
        path,
        source,
        source_version,
    ] = words
    else {
        return Err("has not the nine fields of a package");
    };
    if !is_package_name(name) || !is_package_name(architecture) {
        return Err("has no name of a package");
    }
    if !is_pool_path(path) {
        return Err("has no path in an archive");
    }
    let suite: usize = suite.parse().map_err(|_| "has no number of a suite")?;
    Ok(LockedPackage {
        name: name.to_owned(),
        version: version.parse().map_err(|_| "has no version")?,
        architecture: architecture.to_owned(),
        source: SourcePackage {
            name: source.to_owned(),
            version: source_version.to_owned(),
        },
        digest: digest.parse().map_err(|_| "has no hash")?,
        size: size.parse().map_err(|_| "has no size")?,
        suite: suite.checked_sub(1).ok_or("has no number of a suite")?,
        path: path.to_owned(),
    })
}

/// Relative, without a way up, and one word.
pub(crate) fn is_pool_path(path: &str) -> bool {
    path.split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..")
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn locked(name: &str, content: &[u8]) -> LockedPackage {
        LockedPackage {
            name: name.to_owned(),
            version: "1:1.0+b1".parse().unwrap(),
            architecture: "amd64".to_owned(),
            source: SourcePackage {
                name: format!("{name}-source"),
                version: "1.0".to_owned(),
            },
            digest: Digest::of(content),
            size: content.len() as u64,
            suite: 0,
            path: format!("pool/{name}.deb"),
        }
    }

    pub(crate) fn lock(uri: &str, packages: Vec<LockedPackage>) -> Lock {
        Lock {
            request: Digest::of(b"request"),
            architecture: "amd64".to_owned(),
            suites: vec![LockedSuite {
                uri: uri.to_owned(),
                name: "bookworm-security".to_owned(),
                date: "2026-11-18T22:17:41Z".parse().unwrap(),
                signed_by: "abcd".to_owned(),
            }],
            left_out: vec![LeftOut {
                name: "perl".to_owned(),
                needed_by: vec!["a".to_owned(), "b".to_owned()],
            }],
            packages,
        }
    }

    fn file() -> LockFile {
        let mut arm = lock("http://d/debian", vec![]);
        arm.architecture = "arm64".to_owned();
        let amd = lock(
            "http://d/debian",
            vec![locked("a", b"1"), locked("b", b"2")],
        );
        LockFile {
            locks: [amd, arm]
                .map(|lock| (lock.architecture.clone(), lock))
                .into(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = file().to_string();
        assert_eq!(text.parse::<LockFile>().unwrap(), file());
        assert!(
            text.contains("\nsuite http://d/debian bookworm-security 2026-11-18T22:17:41Z abcd\n")
        );
        assert!(text.contains("\nleft-out perl a b\n"));
        // SHA-256 of `1`, from sha256sum
        let hash = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
        let line =
            format!("\npackage a 1:1.0+b1 amd64 sha256:{hash} 1 1 pool/a.deb a-source 1.0\n");
        assert!(text.contains(&line), "{text}");
    }

    #[test]
    fn damage_is_found_with_its_line() {
        let text = file().to_string();
        for (from, to, problem) in [
            ("format 1", "format 2", "is not `format 1`"),
            ("pool/a.deb", "../a.deb", "has no path in an archive"),
            ("pool/a.deb", "/a.deb", "has no path in an archive"),
            (
                " 1 1 pool/a",
                " 1 2 pool/a",
                "names a suite that is not there",
            ),
            (" 1 1 pool/a", " 1 0 pool/a", "has no number of a suite"),
            (" 1 1 pool/a", " x 1 pool/a", "has no size"),
            (
                "a-source 1.0",
                "a-source",
                "has not the nine fields of a package",
            ),
            (
                "package a ",
                "package c ",
                "ends a list of packages that is not sorted by name",
            ),
            ("package a ", "packet a ", "is not understood"),
            (
                "architecture arm64",
                "architecture amd64",
                "ends an architecture that is there twice",
            ),
            (
                "architecture amd64",
                "# nothing",
                "stands before the first `architecture`",
            ),
        ] {
            let broken = text.replacen(from, to, 1);
            let refused = broken.parse::<LockFile>().unwrap_err();
            assert_eq!(refused.problem, problem, "{from} -> {to}");
        }
        let broken = text.replacen("pool/a.deb", "../a", 1);
        let line = broken
            .lines()
            .position(|line| line.contains("../a"))
            .unwrap()
            + 1;
        assert_eq!(broken.parse::<LockFile>().unwrap_err().line, line);
        assert!("".parse::<LockFile>().is_err());
    }

    #[test]
    fn the_first_suite_names_the_distribution() {
        let lock = lock("http://d", vec![locked("libstdc++6", b"")]);
        assert_eq!(lock.distribution(), Some("bookworm"));
    }
}
