//! Whether a file is still the one it was, without reading it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// A file at one time: whoever replaces it changes its size or its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileState {
    /// Where it is.
    pub path: PathBuf,
    size: u64,
    modified: u128,
}

impl FileState {
    /// As it is now; `None` where it cannot be looked at.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self {
            path: path.to_owned(),
            size: metadata.len(),
            modified: modified.as_nanos(),
        })
    }

    /// Whether it is still that.
    pub(crate) fn holds(&self) -> bool {
        Self::of(&self.path).as_ref() == Some(self)
    }
}
