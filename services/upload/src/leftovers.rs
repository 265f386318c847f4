//! What a crash leaves in a folder: files that were being written, `NAME#NUMBER` as `object_store` calls them until they
//! are whole.

use std::fs::{DirEntry, read_dir, remove_file};
use std::io;
use std::path::Path;

use uuid::Uuid;

/// Removes those of jobs and images that are older than `first`, which begins with its time: others may be written now.
/// How many there were.
pub(crate) fn remove(folder: &Path, first: Uuid) -> io::Result<usize> {
    let mut removed = 0;
    for file in entries(&folder.join("jobs"))? {
        if staged(&file).is_some_and(|name| is_older(&name, first)) {
            remove_file(file.path())?;
            removed += 1;
        }
    }
    for image in entries(&folder.join("images"))? {
        let is_older = image
            .file_name()
            .to_str()
            .is_some_and(|id| is_older(id, first));
        if !is_older {
            continue;
        }
        for file in entries(&image.path())? {
            if staged(&file).is_some() {
                remove_file(file.path())?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// What is in a folder; nothing where it is missing.
fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The name that a file would have got.
fn staged(file: &DirEntry) -> Option<String> {
    let name = file.file_name().into_string().ok()?;
    let (name, number) = name.rsplit_once('#')?;
    number.parse::<u64>().is_ok().then(|| name.to_owned())
}

fn is_older(id: &str, first: Uuid) -> bool {
    id.parse::<Uuid>().is_ok_and(|id| id < first)
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;

    #[test]
    fn only_what_is_half_written_and_older_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (old, first, new) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        let path =
            |kind: &str, id: Uuid, rest: &str| folder.path().join(format!("{kind}/{id}{rest}"));
        let gone = [
            path("images", old, "/original#1"),
            path("images", old, "/medium#12"),
            path("jobs", old, "#1"),
        ];
        let kept = [
            path("images", old, "/original"),
            path("images", new, "/original#1"),
            path("jobs", old, ""),
            path("jobs", new, "#1"),
            folder.path().join("jobs/notes#1"),
        ];
        assert_eq!(remove(folder.path(), first).unwrap(), 0);
        for file in gone.iter().chain(&kept) {
            create_dir_all(file.parent().unwrap()).unwrap();
            write(file, "x").unwrap();
        }
        assert_eq!(remove(folder.path(), first).unwrap(), 3);
        assert!(gone.iter().all(|file| !file.exists()));
        assert!(kept.iter().all(|file| file.exists()));
    }
}
