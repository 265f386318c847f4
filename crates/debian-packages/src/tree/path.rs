//! Paths of entries, in the order of a layer.

use std::cmp::Ordering;
use std::fmt;

/// A path inside an image: relative, without `.` and `..`. Ordered part by part,
/// so that a folder stands right before what is in it.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryPath(String);

/// Folders of the root that have been links into `/usr` since Debian 12.
pub(super) const MERGED: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

impl EntryPath {
    /// A leading or trailing slash is passed over.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let inside = |part: &str| !part.is_empty() && part != "." && part != "..";
        let valid = path.split('/').all(inside) && !path.contains(['\0', '\n']);
        valid.then(|| Self(path.to_owned()))
    }

    /// Where it is once `/bin` leads to `/usr/bin`, and so on.
    #[must_use]
    pub fn merged(self) -> Self {
        let first = self.0.split('/').next().unwrap_or_default();
        match MERGED.contains(&first) {
            true => Self(format!("usr/{}", self.0)),
            false => self,
        }
    }

    /// Without a leading slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders above, from the root down.
    pub(super) fn above(&self) -> impl Iterator<Item = Self> + '_ {
        self.0
            .match_indices('/')
            .map(|(end, _)| Self(self.0[..end].to_owned()))
    }
}

impl Ord for EntryPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.split('/').cmp(other.0.split('/'))
    }
}

impl PartialOrd for EntryPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text).unwrap()
    }

    #[test]
    fn folders_stand_right_before_their_content() {
        let mut paths = ["a-b", "a/z", "a", "a.b", "a/b/c"].map(path);
        paths.sort();
        assert_eq!(
            paths.map(|path| path.0),
            ["a", "a/b/c", "a/z", "a-b", "a.b"]
        );
    }

    #[test]
    fn what_stays_inside() {
        assert_eq!(path("/usr/bin/").as_str(), "usr/bin");
        for bad in ["", "/", "..", "a/../b", "./a", "a//b", "a\nb"] {
            assert_eq!(EntryPath::parse(bad), None, "{bad:?}");
        }
        let above: Vec<_> = path("a/b/c").above().map(|above| above.0).collect();
        assert_eq!(above, ["a", "a/b"]);
    }

    #[test]
    fn old_folders_of_the_root_are_in_usr() {
        for (from, to) in [
            ("bin/sh", "usr/bin/sh"),
            ("lib64", "usr/lib64"),
            ("libexec/x", "libexec/x"),
            ("usr/lib/x", "usr/lib/x"),
        ] {
            assert_eq!(path(from).merged().as_str(), to);
        }
    }
}
