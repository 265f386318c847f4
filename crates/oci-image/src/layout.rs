//! An OCI layout (OCI image spec, `image-layout.md`): a folder of blobs named by their digests, and an index of names.
//!
//! It is the store of what was built and pulled, and what other tools read as `oci:FOLDER`. Many processes may use one
//! at once: blobs appear whole or not at all, and never change; names are changed under a lock that readers do not
//! take. Nothing that is found is trusted: a size is checked when a blob is opened, its digest by who reads it.

mod blob;
mod copy;
mod error;
mod garbage;
mod image;
mod index_file;
mod reach;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use crate::{Descriptor, Digest};

pub use blob::{BlobReader, BlobWriter};
pub use copy::copy_image;
pub use error::LayoutError;
pub use garbage::{GarbagePolicy, GarbageReport};
pub use image::StoredImage;

/// Manifests of registries end at 4 MiB; configurations of images with thousands of layers do not come near this.
const DOCUMENT_LIMIT: u64 = 16 << 20;
/// A blob that is in use is marked so at most this often.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
const VERSION_FILE: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";
const BLOBS: &str = "blobs/sha256";
const TEMPORARY: &str = "tmp";

/// A folder of images.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Opens the layout in `root`, and makes it where there is none. A folder that holds something else is refused.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, LayoutError> {
        let layout = Self {
            root: root.as_ref().to_owned(),
        };
        let version_file = layout.root.join(VERSION_FILE);
        match fs::read(&version_file) {
            Ok(content) => check_version(&content, version_file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                layout.refuse_foreign()?;
                layout.write_new(&version_file, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
            }
            Err(source) => return Err(LayoutError::io("read", &version_file)(source)),
        }
        create_folder(&layout.root.join(BLOBS))?;
        let index = layout.index_file();
        if !index.exists() {
            layout.write_new(&index, &crate::Index::new(Vec::new()).to_json())?;
        }
        Ok(layout)
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the blob of this digest is, if it is there.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join(BLOBS).join(digest.hex())
    }

    /// Whether the blob is there with its size. It then stays for the grace period of the garbage collection.
    #[must_use]
    pub fn has(&self, blob: &Descriptor) -> bool {
        let path = self.blob_path(&blob.digest);
        let found =
            fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == blob.size);
        if found {
            mark_used(&path);
        }
        found
    }

    /// Opens a blob of the right size. Its content is not checked: see [`Layout::reader`].
    pub fn open_blob(&self, blob: &Descriptor) -> Result<File, LayoutError> {
        let path = self.blob_path(&blob.digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LayoutError::Missing {
                    blob: Box::new(blob.clone()),
                    root: self.root.clone(),
                });
            }
            Err(source) => return Err(LayoutError::io("open", &path)(source)),
        };
        let metadata = file.metadata().map_err(LayoutError::io("read", &path))?;
        if metadata.len() == blob.size {
            Ok(file)
        } else {
            Err(LayoutError::WrongSize {
                blob: Box::new(blob.clone()),
                root: self.root.clone(),
                actual: metadata.len(),
            })
        }
    }

    /// Opens a blob to be read to its end, where its digest is checked.
    pub fn reader(&self, blob: &Descriptor) -> Result<BlobReader, LayoutError> {
        Ok(BlobReader::new(self, blob, self.open_blob(blob)?))
    }

    /// A small document, with its digest checked.
    pub fn read(&self, blob: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        if blob.size > DOCUMENT_LIMIT {
            return Err(LayoutError::TooLong {
                blob: Box::new(blob.clone()),
                limit: DOCUMENT_LIMIT,
            });
        }
        let mut content = Vec::new();
        self.open_blob(blob)?
            .take(blob.size + 1)
            .read_to_end(&mut content)
            .map_err(LayoutError::io("read", &self.blob_path(&blob.digest)))?;
        let actual = Digest::of(&content);
        if actual == blob.digest {
            Ok(content)
        } else {
            Err(self.corrupt(blob, actual))
        }
    }

    /// Stores a small document, also over one that is damaged.
    pub fn add(&self, media_type: &str, content: &[u8]) -> Result<Descriptor, LayoutError> {
        let blob = Descriptor::of(media_type, content);
        if self.has(&blob) && self.read(&blob).is_ok() {
            return Ok(blob);
        }
        let mut writer = self.writer()?;
        writer
            .write_all(content)
            .map_err(LayoutError::io("write", &self.blob_path(&blob.digest)))?;
        writer.commit_expected(&blob)?;
        Ok(blob)
    }

    /// Begins a blob. What is never committed is never seen.
    pub fn writer(&self) -> Result<BlobWriter, LayoutError> {
        Ok(BlobWriter::new(self.clone(), self.temporary()?))
    }

    /// Removes a blob whose content is wrong, so that it is made or fetched again.
    pub fn discard(&self, blob: &Descriptor) -> Result<(), LayoutError> {
        let path = self.blob_path(&blob.digest);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(LayoutError::io("remove", &path)(source))
            }
            _ => Ok(()),
        }
    }

    /// Says that a blob is in use: what was not used for long is garbage first. Finding a name does the same.
    pub fn touch(&self, blob: &Descriptor) {
        mark_used(&self.blob_path(&blob.digest));
    }

    pub(crate) fn corrupt(&self, blob: &Descriptor, actual: Digest) -> LayoutError {
        LayoutError::Corrupt {
            blob: Box::new(blob.clone()),
            root: self.root.clone(),
            actual,
        }
    }

    /// Why reading a blob through a [`BlobReader`] failed. Whoever decompresses it may have stumbled over damage
    /// before the reader saw it, at its end.
    #[must_use]
    pub fn read_error(&self, blob: &Descriptor, error: io::Error) -> LayoutError {
        let error = match error.downcast::<LayoutError>() {
            Ok(error) => return error,
            Err(error) => error,
        };
        match self.verify_blob(blob) {
            Err(damage) if damage.damaged().is_some() => damage,
            _ => LayoutError::io("read", &self.blob_path(&blob.digest))(error),
        }
    }

    fn index_file(&self) -> PathBuf {
        self.root.join(INDEX_FILE)
    }

    /// A file in the file system of the blobs, so that it can be renamed to one.
    fn temporary(&self) -> Result<NamedTempFile, LayoutError> {
        let folder = self.root.join(TEMPORARY);
        create_folder(&folder)?;
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o644));
        }
        builder
            .tempfile_in(&folder)
            .map_err(LayoutError::io("create a file in", &folder))
    }

    /// Writes a file whole or not at all; who comes first wins.
    fn write_new(&self, path: &Path, content: &[u8]) -> Result<(), LayoutError> {
        let file = self.filled(path, content)?;
        file.as_file()
            .sync_data()
            .map_err(LayoutError::io("write", path))?;
        match file.persist_noclobber(path) {
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => {
                Err(LayoutError::io("write", path)(error.error))
            }
            _ => Ok(()),
        }
    }

    /// Writes a file whole or not at all, over what is there.
    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), LayoutError> {
        self.persist(self.filled(path, content)?, path)?;
        // Else a crash could bring the old name back although this call has returned.
        sync_folder(&self.root)
    }

    fn filled(&self, path: &Path, content: &[u8]) -> Result<NamedTempFile, LayoutError> {
        let mut file = self.temporary()?;
        file.write_all(content)
            .map_err(LayoutError::io("write", path))?;
        Ok(file)
    }

    /// Gives a file its name. Its content is on the disk before, so that no crash leaves the name with other content.
    fn persist(&self, file: NamedTempFile, path: &Path) -> Result<(), LayoutError> {
        file.as_file()
            .sync_data()
            .map_err(LayoutError::io("write", path))?;
        file.persist(path)
            .map_err(|error| LayoutError::io("write", path)(error.error))?;
        Ok(())
    }

    fn refuse_foreign(&self) -> Result<(), LayoutError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(LayoutError::io("list", &self.root)(source)),
        };
        for entry in entries {
            let entry = entry.map_err(LayoutError::io("list", &self.root))?;
            // What another process may just be making.
            let ours = [VERSION_FILE, INDEX_FILE, "blobs", TEMPORARY].map(OsStr::new);
            if !ours.contains(&entry.file_name().as_os_str()) {
                return Err(LayoutError::Foreign(self.root.clone()));
            }
        }
        Ok(())
    }
}

fn check_version(content: &[u8], path: PathBuf) -> Result<(), LayoutError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct VersionFile {
        image_layout_version: String,
    }
    match serde_json::from_slice::<VersionFile>(content) {
        Ok(file) if file.image_layout_version.starts_with("1.") => Ok(()),
        _ => Err(LayoutError::Version(path)),
    }
}

/// Best effort: a layout may be read-only, and a blob may just have been removed.
fn mark_used(path: &Path) {
    let Ok(file) = File::open(path) else { return };
    let now = SystemTime::now();
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let fresh = |modified| {
        now.duration_since(modified)
            .is_ok_and(|age| age < TOUCH_EVERY)
    };
    if !modified.is_ok_and(fresh)
        && let Err(error) = file.set_modified(now)
    {
        tracing::debug!(path = %path.display(), %error, "cannot mark a blob as used");
    }
}

fn create_folder(folder: &Path) -> Result<(), LayoutError> {
    fs::create_dir_all(folder).map_err(LayoutError::io("create", folder))
}

/// Makes renames into the folder last. Where folders cannot be opened (not on Unix) there is nothing to do.
fn sync_folder(folder: &Path) -> Result<(), LayoutError> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|file| file.sync_all())
            .map_err(LayoutError::io("sync", folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
