//! Temporary files of processes that were killed before they could rename or remove them.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Nobody takes as long as this to write a small file.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Removes those in `folder`, as far as that is possible. Which another process may still be writing stay.
pub(crate) fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        // A time in the future, after a clock was set back, counts as now.
        let age = modified.map(|modified| modified.elapsed().unwrap_or_default());
        if is_unfinished(&entry.file_name())
            && age.is_ok_and(|age| age > ABANDONED)
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::debug!(path = %entry.path().display(), %error, "left where it is");
        }
    }
}

/// Whether the crate `tempfile` gave this name.
pub(crate) fn is_unfinished(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".tmp")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_old_temporary_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, hours: u64| {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            let time = SystemTime::now() - Duration::from_secs(3600 * hours);
            fs::File::open(&path).unwrap().set_modified(time).unwrap();
            path
        };
        let old = write(".tmpAbCdEf", 2);
        let kept = [write(".tmpFedcba", 0), write("inputs.json", 2)];
        remove(folder.path());
        assert!(!old.exists());
        assert!(kept.iter().all(|path| path.exists()));
        remove(&folder.path().join("nowhere"));
    }
}
