//! Whether files were written while something ran. Their contents before and after do not tell: what was edited and
//! restored in between is the same, and what was made of it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::cache_key::Inputs;

/// Files as they were. Stamps are compared with each other and never with a clock: that of a file system may be
/// another, and is coarse.
#[derive(Debug)]
pub(crate) struct Snapshot {
    root: PathBuf,
    stamps: BTreeMap<PathBuf, [Option<Stamp>; 2]>,
}

/// What the system changes at every write, and at every rename onto a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    number: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Snapshot {
    /// Of these files, relative to `root`.
    pub(crate) fn of(root: &Path, files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            root: root.to_owned(),
            stamps: files
                .into_iter()
                .map(|file| (file.clone(), stamps(&root.join(file))))
                .collect(),
        }
    }

    /// Of these files and the folders they are in: those tell of files that came and went.
    pub(crate) fn with_folders(root: &Path, files: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut paths: BTreeSet<PathBuf> = files.into_iter().collect();
        let folders: Vec<PathBuf> = paths
            .iter()
            .filter_map(|file| Some(file.parent()?.to_owned()))
            .collect();
        paths.extend(folders);
        Self::of(root, paths)
    }

    /// Those that were written since.
    pub(crate) fn touched(&self) -> BTreeSet<PathBuf> {
        self.stamps
            .iter()
            .filter(|(file, before)| stamps(&self.root.join(file)) != **before)
            .map(|(file, _)| file.clone())
            .collect()
    }
}

/// The files among inputs, relative to the repository.
pub(crate) fn files(inputs: &Inputs) -> impl Iterator<Item = PathBuf> {
    inputs
        .iter()
        .filter_map(|(name, _)| name.strip_prefix("file ").map(PathBuf::from))
}

/// Of the path itself and of what it leads to.
fn stamps(path: &Path) -> [Option<Stamp>; 2] {
    [fs::symlink_metadata(path), fs::metadata(path)].map(|found| found.ok().as_ref().map(stamp))
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        device: metadata.dev(),
        number: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::thread;
    use std::time::Duration;

    use super::super::test_stack::write;
    use super::*;

    #[test]
    fn what_was_edited_and_restored_was_touched() {
        let root = tempfile::tempdir().unwrap();
        let names = ["edited", "restored", "replaced", "gone", "read", "in/same"];
        for name in names {
            write(root.path(), &[(name, "1")]);
        }
        let snapshot = Snapshot::with_folders(root.path(), names.map(PathBuf::from));
        assert!(snapshot.touched().is_empty());
        // The clock of a file system may move but every few milliseconds.
        thread::sleep(Duration::from_millis(50));
        let path = |name: &str| root.path().join(name);
        write(root.path(), &[("edited", "2")]);
        let time = fs::metadata(path("restored")).unwrap().modified().unwrap();
        write(root.path(), &[("restored", "2")]);
        write(root.path(), &[("restored", "1")]);
        let restored = File::options().write(true).open(path("restored")).unwrap();
        restored.set_modified(time).unwrap();
        write(root.path(), &[("new", "1")]);
        fs::rename(path("new"), path("replaced")).unwrap();
        fs::remove_file(path("gone")).unwrap();
        fs::read(path("read")).unwrap();
        write(root.path(), &[("in/new", "")]);
        fs::remove_file(path("in/new")).unwrap();
        let expected = ["", "edited", "gone", "in", "replaced", "restored"];
        assert_eq!(
            snapshot.touched(),
            expected.map(PathBuf::from).into_iter().collect()
        );
    }
}
