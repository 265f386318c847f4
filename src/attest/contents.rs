//! What is in an image, as whoever built it knows it.

use oci_image::Digest;

/// Everything that was put into an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The image that it starts from.
    pub base: Option<Base>,
    /// What its binaries are compiled from: the closure in the lock file, build dependencies included.
    pub cargo: Vec<CargoPackage>,
    /// Name and version of the packages whose binaries are in the image.
    pub roots: Vec<(String, String)>,
    /// Installed packages of Debian.
    pub debian: Vec<DebianPackage>,
    /// Suite of those packages, as package URLs name it: `debian-12`.
    pub distribution: Option<String>,
    /// Files that no package brings: binaries and assets.
    pub files: Vec<AddedFile>,
}

/// The image that another one starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Registry and repository.
    pub name: String,
    /// Of its manifest.
    pub digest: Digest,
}

/// A package in `Cargo.lock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CargoPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where cargo has it from.
    pub source: CargoSource,
    /// SHA-256 of the `.crate` file, in hexadecimal digits; registries have it.
    pub checksum: Option<String>,
    /// `license` of its manifest, where the manifest is at hand.
    pub license: Option<String>,
    /// Name and version of the packages it depends on; those that are not in the list count as left out.
    pub dependencies: Vec<(String, String)>,
}

/// Where cargo has a package from: `source` in `Cargo.lock`, without its prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CargoSource {
    /// This repository.
    Path,
    /// crates.io, or the registry with this index.
    Registry(String),
    /// A repository of git, with `#commit` at its end.
    Git(String),
}

/// A package in the lock file of Debian packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebianPackage {
    /// Its name.
    pub name: String,
    /// Its version, with epoch and revision.
    pub version: String,
    /// `amd64`, `all`.
    pub architecture: String,
    /// The source package, where it has another name.
    pub source: Option<String>,
    /// SHA-256 of the `.deb` file, in hexadecimal digits.
    pub sha256: String,
    /// Where it was downloaded.
    pub url: Option<String>,
}

/// One file that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedFile {
    /// In the image: `/counter`, `/etc/haproxy.cfg`.
    pub path: String,
    /// Of its content.
    pub digest: Digest,
    /// What it is.
    pub kind: FileKind,
}

/// What an added file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A program that was compiled.
    Binary,
    /// Anything else.
    Asset,
}

impl CargoSource {
    /// From the `source` of a lock file: none means this repository.
    #[must_use]
    pub fn parse(source: Option<&str>) -> Self {
        let Some(source) = source else {
            return Self::Path;
        };
        match source.split_once('+') {
            Some(("git", url)) => Self::Git(url.to_owned()),
            Some(("registry" | "sparse", url)) => Self::Registry(url.to_owned()),
            _ => Self::Registry(source.to_owned()),
        }
    }

    /// Whether it is crates.io, by git or by the sparse protocol.
    pub(crate) fn is_crates_io(&self) -> bool {
        match self {
            Self::Registry(index) => [
                "https://github.com/rust-lang/crates.io-index",
                "https://index.crates.io/",
            ]
            .contains(&index.as_str()),
            Self::Path | Self::Git(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_those_of_a_lock_file() {
        assert_eq!(CargoSource::parse(None), CargoSource::Path);
        for index in [
            "registry+https://github.com/rust-lang/crates.io-index",
            "sparse+https://index.crates.io/",
        ] {
            assert!(CargoSource::parse(Some(index)).is_crates_io(), "{index}");
        }
        assert_eq!(
            CargoSource::parse(Some("git+https://example.com/rand?rev=1#abcdef")),
            CargoSource::Git("https://example.com/rand?rev=1#abcdef".into())
        );
        let own = CargoSource::parse(Some("sparse+https://crates.example.com/"));
        assert!(!own.is_crates_io());
    }
}
