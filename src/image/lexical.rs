//! Paths by their text alone, as manifests and compilers write them.

use std::path::{Component, Path, PathBuf};

/// `path` without `.` and with `..` taken away where it is a step back from a named folder.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut parts: Vec<Component<'_>> = Vec::new();
    for part in path.components() {
        match (part, parts.last()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.into_iter().collect()
}

/// The way from the folder `base` to `path`, with `..` where it leaves it; empty for `base` itself. Both are absolute.
pub(crate) fn relative(base: &Path, path: &Path) -> PathBuf {
    let (base, path) = (normal(base), normal(path));
    let shared = base
        .components()
        .zip(path.components())
        .take_while(|(one, other)| one == other)
        .count();
    let up = base.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_normal() {
        for (path, expected) in [
            ("services/../crates/./a", "crates/a"),
            ("../shared/a", "../shared/a"),
            ("a/../../b", "../b"),
            ("./", ""),
        ] {
            assert_eq!(normal(Path::new(path)), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn a_path_is_seen_from_a_folder() {
        for (path, expected) in [
            ("/r/app/src/../../shared/x.sql", "shared/x.sql"),
            ("/r", ""),
            ("/shared/a", "../shared/a"),
            ("/", ".."),
        ] {
            assert_eq!(
                relative(Path::new("/r"), Path::new(path)),
                Path::new(expected),
                "{path}"
            );
        }
    }
}
