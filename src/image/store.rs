//! The images that were assembled on this machine: content-addressed, shared by all stacks of the user.

use std::env;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use debian_packages::Cache;
use oci_image::{
    ArchiveError, Descriptor, Digest, GarbagePolicy, GarbageReport, Layout, LayoutError, Platform,
    StoredImage,
};
use serde::{Deserialize, Serialize};

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};

use super::build_error::BuildError;
use super::leftovers;
use super::spec::ImageSpec;

/// What to do where there is no room for the store.
pub(crate) const NO_ROOM: &str =
    "make room on the disk of the cache, or set STACKCTL_CACHE to a folder on another";
/// The store cannot be used.
const STORE: Code = Code::new("S0421");
/// Versions of each service that are kept however old they are.
const KEPT_VERSIONS: usize = 3;
/// What was used since then is kept too.
const KEPT_FOR: Duration = Duration::from_secs(14 * 24 * 3600);
/// How often a build looks for garbage.
const COLLECT_EVERY: Duration = Duration::from_secs(24 * 3600);

/// `$STACKCTL_CACHE`, else `$XDG_CACHE_HOME/stackctl`, else `~/.cache/stackctl`; deleting it loses nothing.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    layout: Layout,
}

/// A layer in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredLayer {
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The compressed blob.
    pub blob: Descriptor,
    /// What made it, for `docker history`.
    pub created_by: String,
}

impl Store {
    /// The store of this user.
    pub fn open() -> Result<Self, LayoutError> {
        Self::at(&folder())
    }

    /// A store in `folder`.
    pub fn at(folder: &Path) -> Result<Self, LayoutError> {
        Ok(Self {
            layout: Layout::open(folder.join("images"))?,
            folder: folder.to_owned(),
        })
    }

    /// The images.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where downloaded Debian packages and indices are kept.
    #[must_use]
    pub fn debian(&self) -> PathBuf {
        self.folder.join("debian")
    }

    /// The image of `spec`, if it is there with all its layers.
    pub(crate) fn find(&self, spec: &ImageSpec) -> Result<Option<Descriptor>, LayoutError> {
        let resolved = match self.layout.resolve(&name(spec)) {
            // Without names everything is built anew, and nothing is wrong.
            Err(LayoutError::DamagedIndex { .. }) => {
                self.layout.forget_names()?;
                None
            }
            resolved => resolved?,
        };
        let found = resolved.filter(|found| self.layout.is_complete(found));
        if let Some(found) = &found {
            self.layout.touch(found);
        }
        Ok(found)
    }

    /// Makes a complete image the one of `spec`.
    pub(crate) fn keep(&self, spec: &ImageSpec, image: &Descriptor) -> Result<(), LayoutError> {
        self.layout.tag(&name(spec), image)
    }

    /// One image of what `descriptor` names.
    pub fn image(
        &self,
        descriptor: &Descriptor,
        platform: &Platform,
    ) -> Result<StoredImage, LayoutError> {
        self.layout.image(descriptor, platform)
    }

    /// A layer that was made before from the inputs that `key` is the digest of.
    pub(crate) fn layer(&self, key: &str) -> Option<StoredLayer> {
        let bytes = fs::read(self.layer_file(key)).ok()?;
        let layer: StoredLayer = serde_json::from_slice(&bytes).ok()?;
        self.layout.has(&layer.blob).then_some(layer)
    }

    /// Remembers which layer the inputs of `key` make.
    pub(crate) fn keep_layer(&self, key: &str, layer: &StoredLayer) {
        if let Err(error) = self.write_layer_file(key, layer) {
            tracing::debug!(%error, key, "not remembered: it is made again the next time");
        }
    }

    fn write_layer_file(&self, key: &str, layer: &StoredLayer) -> io::Result<()> {
        let file = self.layer_file(key);
        let folder = file.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)?;
        let mut written = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut written, layer)?;
        written.persist(file).map_err(|error| error.error)?;
        Ok(())
    }

    /// Removes what nobody used for a long time, once a day.
    pub(crate) fn collect_garbage(&self) -> Result<Option<GarbageReport>, LayoutError> {
        let stamp = self.folder.join("collected");
        let recent = fs::metadata(&stamp)
            .and_then(|found| found.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age < COLLECT_EVERY));
        if recent || fs::write(&stamp, "").is_err() {
            return Ok(None);
        }
        let policy = GarbagePolicy {
            newest: KEPT_VERSIONS,
            used_within: KEPT_FOR,
            ..GarbagePolicy::default()
        };
        let report = self.layout.collect_garbage(&policy)?;
        self.forget_layers();
        self.forget_packages();
        Ok(Some(report))
    }

    /// Layers that are no longer there need not be remembered.
    fn forget_layers(&self) {
        let folder = self.folder.join("layers");
        leftovers::remove(&folder);
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if leftovers::is_unfinished(&entry.file_name()) {
                continue;
            }
            let layer = fs::read(entry.path()).map(|bytes| serde_json::from_slice(&bytes));
            let is_there = |layer: &StoredLayer| self.layout.blob_path(&layer.blob.digest).exists();
            if let Ok(layer) = layer
                && !layer.is_ok_and(|layer| is_there(&layer))
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::debug!(%error, "a layer that is gone stays remembered");
            }
        }
    }

    /// Packages whose layers are in images are downloaded again should those be gone.
    fn forget_packages(&self) {
        let folder = self.debian();
        if !folder.is_dir() {
            return;
        }
        match Cache::open(folder) {
            Ok(cache) => {
                let freed = cache.prune(KEPT_FOR);
                tracing::debug!(freed, "packages that nobody used were removed");
            }
            Err(error) => tracing::debug!(%error, "old packages stay"),
        }
    }

    fn layer_file(&self, key: &str) -> PathBuf {
        self.folder.join("layers").join(key)
    }
}

impl Explain for LayoutError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut problem = Diagnostic::error(STORE, self.to_string());
        if let Some(cause) = self.source() {
            problem = problem.caused_by(cause);
        }
        vec![match self {
            Self::Platform { .. } => {
                problem.hint("`platforms` in service.yaml says what an image is for")
            }
            Self::Foreign(_) => problem.hint("set STACKCTL_CACHE to another folder"),
            Self::Io { .. } if is_out_of_room(self) => problem.hint(NO_ROOM),
            Self::Io { .. } => problem.hint("set STACKCTL_CACHE to a folder that can be written"),
            _ => problem,
        }]
    }
}

/// The blob of a store that an error is about, somewhere among its causes.
#[must_use]
pub fn damaged_blob<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Descriptor> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let found = error
            .downcast_ref::<LayoutError>()
            .and_then(LayoutError::damaged)
            .or_else(|| error.downcast_ref::<ArchiveError>()?.damaged())
            // Transparent errors pass over what they hold.
            .or_else(|| error.downcast_ref::<BuildError>()?.held_damage());
        if found.is_some() {
            return found;
        }
        // An I/O error passes over the error it wraps.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// Whether a disk, a quota or a limit of the process is the cause.
pub(crate) fn is_out_of_room(error: &(dyn Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            )
        })
}

/// The same whatever registry the image goes to.
fn name(spec: &ImageSpec) -> String {
    format!("{}:{}", spec.service, spec.inputs.digest())
}

fn folder() -> PathBuf {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("STACKCTL_CACHE")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("stackctl")))
        .or_else(|| Some(env::home_dir()?.join(".cache/stackctl")))
        .unwrap_or_else(|| env::temp_dir().join("stackctl"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::super::base::BaseFailure;
    use super::super::test_stack::span;
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path()).unwrap();
        (folder, store)
    }

    #[test]
    fn packages_that_nobody_used_for_two_weeks_go_once_a_day() {
        let (folder, store) = store();
        let cache = Cache::open(store.debian()).unwrap();
        drop(cache);
        let days = |days: u64| SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        let put = |name: &str, used: SystemTime| {
            let path = store.debian().join(name);
            fs::write(&path, "12345").unwrap();
            let file = File::options().append(true).open(&path).unwrap();
            file.set_modified(used).unwrap();
            path
        };
        let [old, new] =
            [("pool/old.deb", 15), ("pool/new.deb", 13)].map(|(name, age)| put(name, days(age)));
        store.collect_garbage().unwrap().expect("the first time");
        assert!(!old.exists() && new.exists());
        put("pool/old.deb", days(15));
        assert_eq!(store.collect_garbage().unwrap(), None);
        assert!(old.exists(), "it was looked for today");
        let stamp = File::options()
            .append(true)
            .open(folder.path().join("collected"))
            .unwrap();
        stamp.set_modified(days(2)).unwrap();
        store.collect_garbage().unwrap().expect("a day later");
        assert!(!old.exists());
    }

    #[test]
    fn a_store_without_packages_gets_no_folder_for_them() {
        let (_folder, store) = store();
        store.collect_garbage().unwrap();
        assert!(!store.debian().exists());
    }

    #[test]
    fn damage_is_found_whatever_it_was_wrapped_in() {
        let (_folder, store) = store();
        let missing = Descriptor::of("x/layer", b"never written");
        let damage = || store.layout().read(&missing).unwrap_err();
        let wrapped = || io::Error::other(damage());
        let archived = io::Error::other(ArchiveError::from(damage()));
        let errors: [Box<dyn Error>; 6] = [
            Box::new(damage()),
            Box::new(wrapped()),
            Box::new(archived),
            Box::new(BuildError::Store(damage())),
            Box::new(BuildError::File {
                action: "read".to_owned(),
                source: wrapped(),
            }),
            Box::new(BuildError::Base {
                reference: "base".to_owned(),
                source: Box::new(BaseFailure::Layout(damage())),
                span: span(),
            }),
        ];
        for error in &errors {
            assert_eq!(damaged_blob(error.as_ref()), Some(&missing), "{error:?}");
        }
        let harmless = io::Error::other("no room");
        assert_eq!(damaged_blob(&harmless), None);
    }
}
