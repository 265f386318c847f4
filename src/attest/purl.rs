//! Package URLs: the names by which scanners know packages (ECMA-427).

use std::fmt::Write as _;

use super::contents::{CargoPackage, CargoSource, DebianPackage};
use super::git::public_url;
use super::subject::Subject;

/// `pkg:cargo/serde@1.0.2`. One from elsewhere than crates.io says so, lest a scanner take it for the public one.
pub(crate) fn cargo(package: &CargoPackage) -> String {
    let base = format!(
        "pkg:cargo/{}@{}",
        encode(&package.name, false),
        encode(&package.version, false)
    );
    let qualifier = match &package.source {
        CargoSource::Git(url) => git_location(url).map(|url| ("vcs_url", url)),
        CargoSource::Registry(index) if !package.source.is_crates_io() => {
            public_url(index).map(|url| ("repository_url", url))
        }
        CargoSource::Registry(_) | CargoSource::Path => None,
    };
    base + &qualifiers(qualifier)
}

/// `pkg:deb/debian/redis-server@5:7.0.15-1?arch=amd64&distro=debian-12&upstream=redis`; `upstream` is what scanners
/// look a vulnerability up by.
pub(crate) fn debian(package: &DebianPackage, distribution: Option<&str>) -> String {
    let base = format!(
        "pkg:deb/debian/{}@{}",
        encode(&package.name, false),
        encode(&package.version, false)
    );
    let upstream = package.source.as_deref();
    base + &qualifiers(
        [
            Some(("arch", package.architecture.clone())),
            distribution.map(|suite| ("distro", suite.to_owned())),
            upstream
                .filter(|source| *source != package.name)
                .map(|source| ("upstream", source.to_owned())),
        ]
        .into_iter()
        .flatten(),
    )
}

/// `pkg:oci/counter@sha256:…?arch=amd64&repository_url=registry.example.com/shop/counter`
pub(crate) fn image(subject: &Subject) -> String {
    let base = format!(
        "pkg:oci/{}@{}",
        encode(subject.short_name(), false),
        subject.manifest.digest
    );
    let repository = subject.repository();
    base + &qualifiers(
        [
            Some(("arch", subject.platform.architecture.clone())),
            repository.map(|name| ("repository_url", name.to_owned())),
        ]
        .into_iter()
        .flatten(),
    )
}

/// `git+https://example.com/rand@abcdef` for the `source` of a lock file.
pub(crate) fn git_location(source: &str) -> Option<String> {
    let (url, commit) = source.split_once('#').unwrap_or((source, ""));
    let mut location = format!("git+{}", public_url(url)?);
    if !commit.is_empty() {
        location.push('@');
        location.push_str(commit);
    }
    Some(location)
}

/// In the order of their names, as the caller gives them.
fn qualifiers<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        text.push_str(&encode(&value, true));
    }
    text
}

/// Percent-encoded but for what the standard leaves alone; `/` stays in values of qualifiers.
fn encode(text: &str, slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                encoded.push(char::from(byte));
            }
            b'/' if slashes => encoded.push('/'),
            _ => write!(encoded, "%{byte:02X}").expect("a String takes everything"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(version: &str, source: &str) -> CargoPackage {
        CargoPackage {
            name: "rand".into(),
            version: version.into(),
            source: CargoSource::parse(Some(source)),
            checksum: None,
            license: None,
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn cargo_packages_say_where_they_are_from_unless_it_is_crates_io() {
        let crates_io = "registry+https://github.com/rust-lang/crates.io-index";
        for (version, source, expected) in [
            ("0.9.1", crates_io, "pkg:cargo/rand@0.9.1"),
            ("1.0.0+x.1", crates_io, "pkg:cargo/rand@1.0.0%2Bx.1"),
            (
                "0.9.1",
                "git+https://me:secret@example.com/rand?rev=1#abcdef",
                "pkg:cargo/rand@0.9.1?vcs_url=git%2Bhttps://example.com/rand%40abcdef",
            ),
            (
                "0.9.1",
                "sparse+https://crates.example.com/index/",
                "pkg:cargo/rand@0.9.1?repository_url=https://crates.example.com/index/",
            ),
        ] {
            assert_eq!(cargo(&package(version, source)), expected);
        }
    }

    #[test]
    fn an_image_of_no_registry_is_nowhere() {
        let mut subject = super::super::subject::counter();
        let digest = subject.manifest.digest;
        assert_eq!(
            image(&subject),
            format!(
                "pkg:oci/counter@{digest}?arch=amd64&repository_url=registry.example.com/shop/counter"
            )
        );
        subject.name = "shop/counter".into();
        assert_eq!(
            image(&subject),
            format!("pkg:oci/counter@{digest}?arch=amd64")
        );
    }

    #[test]
    fn debian_packages_name_their_source() {
        let mut package = DebianPackage {
            name: "redis-server".into(),
            version: "5:7.0.15-1~deb12u1".into(),
            architecture: "amd64".into(),
            source: Some("redis".into()),
            sha256: String::new(),
            url: None,
        };
        assert_eq!(
            debian(&package, Some("debian-12")),
            "pkg:deb/debian/redis-server@5:7.0.15-1~deb12u1?arch=amd64&distro=debian-12&upstream=redis"
        );
        package.name = "libstdc++6".into();
        package.version = "12.2.0-14+deb12u1".into();
        package.source = None;
        assert_eq!(
            debian(&package, None),
            "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64"
        );
    }

    #[test]
    fn an_image_is_named_by_its_digest() {
        let found = image(&super::super::subject::counter());
        let digest = oci_image::Digest::of(b"manifest");
        assert_eq!(
            found,
            format!(
                "pkg:oci/counter@{digest}?arch=amd64&repository_url=registry.example.com/shop/counter"
            )
        );
    }
}
