//! `.stackctl/` in the repository: caches and locks; deleting it loses nothing.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::leftovers;

/// The folder of one repository.
#[derive(Debug, Clone)]
pub(crate) struct StateFolder(PathBuf);

impl StateFolder {
    /// Nothing is created yet.
    pub(crate) fn of(root: &Path) -> Self {
        Self(root.join(".stackctl"))
    }

    /// A cached value; anything that cannot be read counts as not there.
    pub(crate) fn cached<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let bytes = fs::read(self.0.join("cache").join(name)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps a value; a read-only repository only means that it is computed again.
    pub(crate) fn cache<T: Serialize>(&self, name: &str, value: &T) {
        let written = self.create("cache").and_then(|folder| {
            leftovers::remove(&folder);
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            serde_json::to_writer(&mut file, value)?;
            file.persist(folder.join(name)).map_err(|error| error.error)
        });
        if let Err(error) = written {
            tracing::debug!(%error, name, "not cached");
        }
    }

    /// Takes the lock `name` until the file is dropped; `None` while another process holds it.
    pub(crate) fn try_lock(&self, name: &str) -> io::Result<Option<File>> {
        let path = self.create("")?.join(name);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// A folder in it that git does not see.
    fn create(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.0.join(name);
        fs::create_dir_all(&folder)?;
        let ignore = self.0.join(".gitignore");
        if !ignore.exists() {
            fs::write(ignore, "*\n")?;
        }
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_damage_is_no_value() {
        let root = tempfile::tempdir().unwrap();
        let state = StateFolder::of(root.path());
        assert_eq!(state.cached::<u32>("n"), None);
        state.cache("n", &7);
        assert_eq!(state.cached::<u32>("n"), Some(7));
        fs::write(root.path().join(".stackctl/cache/n"), "{").unwrap();
        assert_eq!(state.cached::<u32>("n"), None);
        assert_eq!(
            fs::read_to_string(root.path().join(".stackctl/.gitignore")).unwrap(),
            "*\n"
        );
    }

    #[test]
    fn a_lock_is_held_once() {
        let root = tempfile::tempdir().unwrap();
        let state = StateFolder::of(root.path());
        let held = state.try_lock("build.lock").unwrap().unwrap();
        assert!(state.try_lock("build.lock").unwrap().is_none());
        drop(held);
        assert!(state.try_lock("build.lock").unwrap().is_some());
    }
}
