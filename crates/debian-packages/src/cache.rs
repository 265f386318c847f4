//! The folder that all builds of a user share: packages by their hash, indices as parsed.
//!
//! Nothing is locked. What is written lies under a temporary name until it is
//! complete, and what is read was verified or is verified now: a process that is
//! killed leaves a temporary file, which a later one removes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use oci_image::Digest;
use tempfile::NamedTempFile;

/// Temporary files of that age belong to nobody any more.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

const FOLDERS: [&str; 4] = ["indices", "pool", "releases", "tmp"];

/// Where downloads are kept.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// What failed in the cache.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} {path}")]
pub struct CacheError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    #[source]
    pub(crate) source: io::Error,
}

impl Cache {
    /// Opens the cache in a folder, which is made where it is missing.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, CacheError> {
        let cache = Self { root: root.into() };
        for name in FOLDERS {
            let folder = cache.root.join(name);
            fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        }
        remove_older(&cache.root.join("tmp"), ABANDONED);
        Ok(cache)
    }

    /// Removes what no build has used for that long; returns how many bytes that were.
    /// A build that runs meanwhile downloads again what it misses.
    #[must_use]
    pub fn prune(&self, unused_for: Duration) -> u64 {
        ["indices", "pool"]
            .map(|name| remove_older(&self.root.join(name), unused_for))
            .iter()
            .sum()
    }

    pub(crate) fn package(&self, digest: &Digest) -> PathBuf {
        self.root.join("pool").join(format!("{}.deb", digest.hex()))
    }

    /// The parsed form of the index with this hash; the number is the form's version.
    pub(crate) fn index(&self, digest: &Digest) -> PathBuf {
        self.root
            .join("indices")
            .join(format!("{}.1", digest.hex()))
    }

    /// The newest `InRelease` that was seen of a suite.
    pub(crate) fn release(&self, uri: &str, suite: &str) -> PathBuf {
        let name = Digest::of(format!("{uri} {suite}").as_bytes()).hex();
        self.root.join("releases").join(name)
    }

    /// A file that is gone with its handle, unless it is kept.
    pub(crate) fn temporary(&self) -> Result<NamedTempFile, CacheError> {
        let folder = self.root.join("tmp");
        NamedTempFile::new_in(&folder).map_err(failed("make a file in", &folder))
    }

    /// A file without a name: gone with the process, however it ends.
    pub(crate) fn spool(&self) -> Result<File, CacheError> {
        let folder = self.root.join("tmp");
        tempfile::tempfile_in(&folder).map_err(failed("make a file in", &folder))
    }

    /// Gives a complete file its name; whoever was first does not matter, the content is the same.
    pub(crate) fn keep(&self, file: NamedTempFile, path: &Path) -> Result<(), CacheError> {
        file.persist(path)
            .map(drop)
            .map_err(|error| failed("write", path)(error.error))
    }
}

/// Says that a file is still of use, see [`Cache::prune`].
pub(crate) fn touch(file: &File) {
    // A cache that cannot be written to can still be read from.
    let _ = file.set_modified(SystemTime::now());
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError {
        action,
        path,
        source,
    }
}

/// Best effort: what cannot be removed now is removed some other time.
fn remove_older(folder: &Path, age: Duration) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let is_old = |metadata: &fs::Metadata| {
        let modified = metadata.modified().ok();
        modified
            .and_then(|time| time.elapsed().ok())
            .is_some_and(|elapsed| elapsed > age)
    };
    let removed = entries.flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok().filter(is_old)?;
        fs::remove_file(entry.path()).ok().map(|()| metadata.len())
    });
    removed.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_used_for_long_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let [old, new] = [b"old", b"new"].map(|content| cache.package(&Digest::of(content)));
        for path in [&old, &new] {
            fs::write(path, "12345").unwrap();
        }
        let abandoned = folder.path().join("tmp/left");
        fs::write(&abandoned, "").unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
        for path in [&old, &abandoned] {
            File::options()
                .append(true)
                .open(path)
                .unwrap()
                .set_modified(long_ago)
                .unwrap();
        }
        assert_eq!(cache.prune(Duration::from_secs(3600)), 5);
        assert!(!old.exists() && new.exists());
        assert!(abandoned.exists(), "not a matter of pruning");
        Cache::open(folder.path()).unwrap();
        assert!(!abandoned.exists());
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let path = cache.package(&Digest::of(b"x"));
        let file = cache.temporary().unwrap();
        fs::write(file.path(), "x").unwrap();
        assert!(!path.exists());
        cache.keep(file, &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    }
}
