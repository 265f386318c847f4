//! References of images: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]` (distribution specification, and Docker's short names).

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// The registry that a name without a host means.
const DOCKER_HUB: &str = "docker.io";
/// Longest name and longest tag that registries take.
const NAME_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// Where an image is: registry, repository, and which of its versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no reference of an image: {reason}")]
pub struct InvalidReference {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Reference {
    /// The host, with its port where it has one: `registry.example.com`, `127.0.0.1:5000`, `docker.io`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry: `team/birthday`, `library/redis`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where one is written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one is written.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What a registry is asked for: the digest, else the tag, else `latest`.
    #[must_use]
    pub fn version(&self) -> String {
        match (self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same name with this digest; the tag stays, for people.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The same repository with this tag alone.
    pub fn with_tag(&self, tag: &str) -> Result<Self, InvalidReference> {
        check_tag(tag).map_err(|reason| InvalidReference {
            text: tag.to_owned(),
            reason,
        })?;
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        parse(text).map_err(|reason| InvalidReference {
            text: text.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (rest, digest) =
        match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(digest.parse().map_err(
                    |_| "after @ stands `sha256:` and 64 lower-case hexadecimal digits",
                )?),
            ),
            None => (text, None),
        };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => {
            check_tag(tag)?;
            (name, Some(tag.to_owned()))
        }
        _ => (rest, None),
    };
    let (registry, path) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (host.to_owned(), path.to_owned()),
        Some(_) => (DOCKER_HUB.to_owned(), name.to_owned()),
        None => (DOCKER_HUB.to_owned(), format!("library/{name}")),
    };
    if registry.len() + 1 + path.len() > NAME_LIMIT {
        return Err("the name is longer than 255 characters");
    }
    if !path.split('/').all(is_component) {
        return Err("a path is made of a-z, 0-9 and single separators . _ - between them");
    }
    Ok(Reference {
        registry,
        repository: path,
        tag,
        digest,
    })
}

/// Docker's rule: a first part with a dot or a port, or `localhost`, is a host.
fn is_host(part: &str) -> bool {
    if !part.contains(['.', ':']) {
        return part == "localhost";
    }
    let (name, port) = match part.rsplit_once(':') {
        // The colons of an address stand in brackets.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (part, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0)
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let is_name = match address {
        Some(address) => address
            .chars()
            .all(|c| c.is_ascii_hexdigit() || ".:".contains(c)),
        None => {
            let ends = |c: char| c.is_ascii_alphanumeric();
            let legal = |c: char| ends(c) || ".-".contains(c);
            name.starts_with(ends) && name.ends_with(ends) && name.chars().all(legal)
        }
    };
    is_name && port.is_none_or(is_port)
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if tag.is_empty() || tag.len() > TAG_LIMIT {
        return Err("a tag has 1 to 128 characters");
    }
    if tag.starts_with(['.', '-']) || !tag.chars().all(legal) {
        return Err("a tag is made of letters, digits and . _ -, and starts with none of . -");
    }
    Ok(())
}

/// `alpha-numeric ([._] | __ | -+) alpha-numeric …` (distribution specification, "Pulling manifests").
fn is_component(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !part.starts_with(alphanumeric) || !part.ends_with(alphanumeric) {
        return false;
    }
    part.split(alphanumeric).all(|between| {
        matches!(between, "" | "." | "_" | "__") || between.chars().all(|c| c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn names_are_read_as_docker_reads_them() {
        for (text, registry, repository, version) in [
            ("redis", "docker.io", "library/redis", "latest"),
            ("redis:7", "docker.io", "library/redis", "7"),
            (
                "seedling/birthday:1a",
                "docker.io",
                "seedling/birthday",
                "1a",
            ),
            ("localhost/a", "localhost", "a", "latest"),
            ("127.0.0.1:5000/a/b:x", "127.0.0.1:5000", "a/b", "x"),
            ("[::1]:5000/a", "[::1]:5000", "a", "latest"),
            ("[::1]/a", "[::1]", "a", "latest"),
            (
                "r.example.com/a__b/c-d--e:T.1",
                "r.example.com",
                "a__b/c-d--e",
                "T.1",
            ),
            (&format!("r.io/a:1@{DIGEST}"), "r.io", "a", DIGEST),
        ] {
            let found: Reference = text.parse().unwrap();
            assert_eq!(
                (
                    found.registry(),
                    found.repository(),
                    found.version().as_str()
                ),
                (registry, repository, version),
                "{text}"
            );
        }
        let pinned: Reference = format!("r.io/a:1@{DIGEST}").parse().unwrap();
        assert_eq!(pinned.tag(), Some("1"));
        assert_eq!(pinned.to_string(), format!("r.io/a:1@{DIGEST}"));
        assert_eq!(
            "redis".parse::<Reference>().unwrap().to_string(),
            "docker.io/library/redis"
        );
    }

    #[test]
    fn what_no_registry_takes_is_refused() {
        let long = "a".repeat(256);
        for text in [
            "",
            ":x",
            "A",
            "a/",
            "a//b",
            "r.io/",
            "a:",
            "a:-x",
            "a@sha256:1",
            "a b",
            "a/../b",
            "-a",
            "a_-b",
            "r.io/A",
            "http://r.io/a",
            ":5000/a",
            "r.io:/a",
            "r.io:0/a",
            "r.io:65536/a",
            "r.io:http/a",
            ".io/a",
            "[x]/a",
            &long,
            &format!("a:{}", "t".repeat(129)),
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
