//! Where and from when an image is: the facts that its annotations repeat.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Where the sources of an image come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// In seconds since 1970: `SOURCE_DATE_EPOCH`, else the commit's time; never the clock, which is no input.
    pub created: u64,
    /// `None` outside a repository of git.
    pub revision: Option<Revision>,
}

/// A state of a repository of git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The commit, in hexadecimal digits.
    pub commit: String,
    /// When it was made, in seconds since 1970.
    pub committed: u64,
    /// Whether files differ from the commit.
    pub dirty: bool,
    /// Where it can be fetched, without credentials.
    pub remote: Option<String>,
}

impl Origin {
    /// Annotations of OCI, for the image and for what is attached to it. A revision is only named where the files are
    /// those of the commit.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = BTreeMap::new();
        let mut add = |name: &str, value: &str| {
            annotations.insert(format!("org.opencontainers.image.{name}"), value.to_owned());
        };
        add("created", &rfc3339(self.created));
        if let Some(revision) = &self.revision {
            if !revision.dirty {
                add("revision", &revision.commit);
            }
            if let Some(remote) = &revision.remote {
                add("source", remote);
            }
        }
        annotations
    }
}

/// `2024-05-01T12:00:00Z`; a time beyond the year 9999 is its end.
pub(crate) fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
pub(crate) fn origin() -> Origin {
    Origin {
        created: 1_714_564_800,
        revision: Some(Revision {
            commit: "0123456789abcdef0123456789abcdef01234567".into(),
            committed: 1_714_564_800,
            dirty: false,
            remote: Some("https://example.com/shop.git".into()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_every_format_here_wants_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_714_564_800), "2024-05-01T12:00:00Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-30T22:00:00Z");
    }

    #[test]
    fn a_dirty_tree_has_no_revision() {
        let clean = origin().annotations();
        assert_eq!(clean.len(), 3);
        assert_eq!(
            clean["org.opencontainers.image.source"],
            "https://example.com/shop.git"
        );
        let mut dirty = origin();
        dirty.revision.as_mut().unwrap().dirty = true;
        assert!(
            !dirty
                .annotations()
                .contains_key("org.opencontainers.image.revision")
        );
        let nowhere = Origin::default().annotations();
        assert_eq!(
            nowhere.keys().collect::<Vec<_>>(),
            ["org.opencontainers.image.created"]
        );
    }
}
