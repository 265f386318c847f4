//! Where packages come from: archives, their suites, and the keys they are signed with.

use std::path::PathBuf;

/// The keyring of the package `debian-archive-keyring`.
pub const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Suites of one archive, as a paragraph of `/etc/apt/sources.list.d/*.sources` names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The archive, e.g. `http://deb.debian.org/debian`: what lies above `dists/` and `pool/`.
    pub uri: String,
    /// Folders below `dists/`, e.g. `bookworm-updates`.
    pub suites: Vec<String>,
    /// Parts of a suite, e.g. `main`.
    pub components: Vec<String>,
    /// A file of OpenPGP keys, binary or armored, or a folder of `.gpg`, `.pgp` and `.asc` files.
    pub keyring: PathBuf,
    /// Whether an index must not be past its `Valid-Until` and its key must not
    /// have expired: off for snapshots, which are old on purpose.
    pub check_valid_until: bool,
}

impl Source {
    /// One suite of an archive with component `main`, signed by Debian.
    #[must_use]
    pub fn new(uri: impl Into<String>, suites: &[&str]) -> Self {
        let uri: String = uri.into();
        Self {
            check_valid_until: !is_snapshot(&uri),
            uri: uri.trim_end_matches('/').to_owned(),
            suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
            components: vec!["main".to_owned()],
            keyring: DEBIAN_KEYRING.into(),
        }
    }

    /// What a Debian machine of this release has in its sources: the release, its
    /// updates, its security updates. `sid` and `unstable` have neither of the latter.
    #[must_use]
    pub fn debian(release: &str) -> Vec<Self> {
        Self::debian_at(
            release,
            "http://deb.debian.org/debian",
            "http://deb.debian.org/debian-security",
        )
    }

    /// The same as of a moment, from snapshot.debian.org. `time` is written `20260711T000000Z`.
    #[must_use]
    pub fn debian_snapshot(release: &str, time: &str) -> Vec<Self> {
        let archive = |name: &str| format!("http://snapshot.debian.org/archive/{name}/{time}");
        Self::debian_at(release, &archive("debian"), &archive("debian-security"))
    }

    fn debian_at(release: &str, archive: &str, security: &str) -> Vec<Self> {
        if matches!(release, "sid" | "unstable") {
            return vec![Self::new(archive, &[release])];
        }
        vec![
            Self::new(archive, &[release, &format!("{release}-updates")]),
            Self::new(security, &[&format!("{release}-security")]),
        ]
    }
}

/// Other addresses for archives: the lock names the archive, the mirror delivers it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors(Vec<(String, String)>);

impl Mirrors {
    /// From now on what lies below `archive` is fetched from below `mirror`.
    pub fn insert(&mut self, archive: &str, mirror: &str) {
        let clean = |uri: &str| uri.trim_end_matches('/').to_owned();
        self.0.push((clean(archive), clean(mirror)));
        // The longest prefix is the most precise.
        self.0
            .sort_by_key(|(archive, _)| std::cmp::Reverse(archive.len()));
    }

    /// The address of `path` in `archive`.
    #[must_use]
    pub fn url(&self, archive: &str, path: &str) -> String {
        for (from, to) in &self.0 {
            if let Some(rest) = archive.strip_prefix(from.as_str())
                && (rest.is_empty() || rest.starts_with('/'))
            {
                return format!("{to}{rest}/{}", escape(path));
            }
        }
        format!("{archive}/{}", escape(path))
    }
}

fn is_snapshot(uri: &str) -> bool {
    uri.split_once("://")
        .is_some_and(|(_, rest)| rest.starts_with("snapshot.debian.org/"))
}

/// Versions contain `+` and `~`, file names `%3a`: everything but the safe characters is escaped.
fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_updates_and_security() {
        let sources = Source::debian("bookworm");
        let shown: Vec<_> = sources
            .iter()
            .map(|s| format!("{} {:?}", s.uri, s.suites))
            .collect();
        assert_eq!(
            shown,
            [
                r#"http://deb.debian.org/debian ["bookworm", "bookworm-updates"]"#,
                r#"http://deb.debian.org/debian-security ["bookworm-security"]"#,
            ]
        );
        assert!(sources.iter().all(|source| source.check_valid_until));
        assert_eq!(Source::debian("sid").len(), 1);
    }

    #[test]
    fn snapshots_may_be_old() {
        let sources = Source::debian_snapshot("bookworm", "20250520T000000Z");
        assert_eq!(
            sources[1].uri,
            "http://snapshot.debian.org/archive/debian-security/20250520T000000Z"
        );
        assert!(sources.iter().all(|source| !source.check_valid_until));
    }

    #[test]
    fn mirrors_stand_in_for_archives_not_for_names_that_begin_alike() {
        let mut mirrors = Mirrors::default();
        mirrors.insert("http://deb.debian.org/debian/", "http://mirror/d");
        let path = "pool/l/libc6_2.36-9+deb12u10_amd64.deb";
        let escaped = "pool/l/libc6_2.36-9%2Bdeb12u10_amd64.deb";
        assert_eq!(
            mirrors.url("http://deb.debian.org/debian", path),
            format!("http://mirror/d/{escaped}")
        );
        let security = "http://deb.debian.org/debian-security";
        assert_eq!(mirrors.url(security, path), format!("{security}/{escaped}"));
        mirrors.insert("http://deb.debian.org", "http://all");
        assert_eq!(mirrors.url(security, "x"), "http://all/debian-security/x");
        assert_eq!(
            mirrors.url("http://deb.debian.org/debian", "x"),
            "http://mirror/d/x"
        );
    }
}
