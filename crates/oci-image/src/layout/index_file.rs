//! `index.json`: the names of a layout's images.
//!
//! Writers take a lock, read the file, and rename a changed copy over it; readers see the old or the new one whole.
//! What others wrote into it, and this program does not know, stays as it is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Layout, LayoutError, VERSION_FILE, mark_used};
use crate::Descriptor;

/// The annotation that holds an image's name.
const NAME: &str = "org.opencontainers.image.ref.name";

/// The content of `index.json`.
pub(super) struct IndexFile {
    document: Document,
}

/// Held while the index or the set of blobs is changed; released when dropped.
pub(super) struct Lock {
    _file: File,
}

#[derive(serde::Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    #[serde(default)]
    manifests: Vec<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Layout {
    /// Names an image, which must be there with all its blobs. The name's former image loses it.
    ///
    /// An index may leave out platforms: of its manifests those count that are there.
    pub fn tag(&self, name: &str, image: &Descriptor) -> Result<(), LayoutError> {
        check_name(name)?;
        let lock = self.lock()?;
        // Under the lock: blobs are not collected between this check and the name that keeps them.
        self.complete_blobs_of(image)?;
        let mut index = self.index()?;
        index.set(name, image);
        self.write_index(&index)?;
        drop(lock);
        self.touch(image);
        Ok(())
    }

    /// Takes a name away; whether there was one. The blobs stay until the next garbage collection.
    pub fn untag(&self, name: &str) -> Result<bool, LayoutError> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let found = index.remove(name);
        if found {
            self.write_index(&index)?;
        }
        Ok(found)
    }

    /// The image of this name, which counts as used.
    pub fn resolve(&self, name: &str) -> Result<Option<Descriptor>, LayoutError> {
        let image = self.index()?.get(name);
        if let Some(image) = &image {
            mark_used(&self.blob_path(&image.digest));
        }
        Ok(image)
    }

    /// All names with their images.
    pub fn names(&self) -> Result<BTreeMap<String, Descriptor>, LayoutError> {
        Ok(self.index()?.names())
    }

    /// Puts a damaged `index.json` aside and begins an empty one; where the damaged one is now.
    ///
    /// No image is lost that cannot be built or pulled again, and its blobs are found again by then: for a store this
    /// is the way out of [`LayoutError::DamagedIndex`]. An index that can be read is left alone.
    pub fn forget_names(&self) -> Result<Option<PathBuf>, LayoutError> {
        let _lock = self.lock()?;
        let path = self.index_file();
        match self.index() {
            Err(LayoutError::DamagedIndex { .. }) => {}
            other => return other.map(|_| None),
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.map_or(0, |since| since.as_secs());
        let aside = self.root.join(format!("index.json.damaged-{seconds}"));
        fs::copy(&path, &aside).map_err(LayoutError::io("write", &aside))?;
        self.write_index(&IndexFile::empty())?;
        Ok(Some(aside))
    }

    pub(super) fn index(&self) -> Result<IndexFile, LayoutError> {
        let path = self.index_file();
        match fs::read(&path) {
            Ok(content) => IndexFile::parse(&content, &path),
            // Never so by us: a blob store without names is one.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(IndexFile::empty()),
            Err(source) => Err(LayoutError::io("read", &path)(source)),
        }
    }

    pub(super) fn write_index(&self, index: &IndexFile) -> Result<(), LayoutError> {
        let content = serde_json::to_vec(&index.document).expect("made of JSON values");
        self.replace(&self.index_file(), &content)
    }

    /// Waits for other writers. The lock lies on `oci-layout`, which is never replaced.
    pub(super) fn lock(&self) -> Result<Lock, LayoutError> {
        let path = self.root.join(VERSION_FILE);
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(LayoutError::io("open", &path))?;
        file.lock().map_err(LayoutError::io("lock", &path))?;
        Ok(Lock { _file: file })
    }
}

impl IndexFile {
    fn empty() -> Self {
        let others = [("mediaType".to_owned(), crate::media_type::INDEX.into())];
        Self {
            document: Document {
                schema_version: 2,
                manifests: Vec::new(),
                others: others.into_iter().collect(),
            },
        }
    }

    fn parse(content: &[u8], path: &Path) -> Result<Self, LayoutError> {
        let damaged = |source| LayoutError::DamagedIndex {
            path: path.to_owned(),
            source,
        };
        let document: Document = serde_json::from_slice(content).map_err(damaged)?;
        Ok(Self { document })
    }

    /// What others put there without a name.
    pub(super) fn unnamed(&self) -> impl Iterator<Item = Descriptor> {
        self.entries()
            .filter(|entry| !entry.annotations.contains_key(NAME))
    }

    /// Left out is what this program cannot hold, such as digests by another algorithm.
    fn entries(&self) -> impl Iterator<Item = Descriptor> {
        let entries = self.document.manifests.iter();
        entries.filter_map(|entry| Descriptor::deserialize(entry).ok())
    }

    pub(super) fn names(&self) -> BTreeMap<String, Descriptor> {
        let mut names = BTreeMap::new();
        for entry in self.entries() {
            if let Some(name) = entry.annotations.get(NAME) {
                names.entry(name.clone()).or_insert_with(|| unnamed(&entry));
            }
        }
        names
    }

    fn get(&self, name: &str) -> Option<Descriptor> {
        let mut found = self
            .entries()
            .filter(|entry| entry.annotations.get(NAME).is_some_and(|it| it == name));
        found.next().map(|entry| unnamed(&entry))
    }

    fn set(&mut self, name: &str, image: &Descriptor) {
        self.remove(name);
        let mut entry = image.clone();
        entry.annotations.insert(NAME.to_owned(), name.to_owned());
        let entry = serde_json::to_value(entry).expect("a descriptor is JSON");
        self.document.manifests.push(entry);
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        let before = self.document.manifests.len();
        self.document
            .manifests
            .retain(|entry| entry["annotations"][NAME] != name);
        self.document.manifests.len() < before
    }
}

/// The name belongs to the layout and not to the image.
fn unnamed(entry: &Descriptor) -> Descriptor {
    let mut entry = entry.clone();
    entry.annotations.remove(NAME);
    entry
}

fn check_name(name: &str) -> Result<(), LayoutError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-:@+/".contains(c);
    if name.is_empty() || !name.chars().all(legal) {
        return Err(LayoutError::Name(name.to_owned()));
    }
    Ok(())
}
