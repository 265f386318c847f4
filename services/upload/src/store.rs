//! Where images and jobs are kept: an object store, which is a folder, S3 or memory.
//!
//! `images/<id>/<variant>` and `jobs/<id>`; each object appears whole or not at
//! all, and is on the disk when it has been put.

use std::error::Error;
use std::fmt;
use std::io::{
    self,
    ErrorKind::{QuotaExceeded, StorageFull},
};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutPayload};
use service_kit::chain;
use tokio::task::spawn_blocking;
use url::Url;
use uuid::Uuid;

use crate::job::Job;
use crate::leftovers;
use crate::s3::{Retries, S3Settings, bucket};
use crate::variant::Variant;

const JOBS: &str = "jobs";
/// As much of an image is read at once, in bytes: it is in memory for each client that reads one, however slowly.
const PART: u64 = 512 << 10;

/// The store. Clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
    /// The same one, for the question whether it is there: it fails at once.
    probe: Arc<dyn ObjectStore>,
}

/// An image that is read part by part: each is a request to the store of its own, which does not wait for a slow client.
pub(crate) struct StoredImage {
    /// In bytes.
    pub(crate) size: u64,
    /// The first part.
    pub(crate) start: Bytes,
    objects: Arc<dyn ObjectStore>,
    path: Path,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the object store failed")]
    Objects(#[from] object_store::Error),
    #[error("a job record cannot be read")]
    Record(#[from] serde_json::Error),
    #[error("the folder cannot be made")]
    Folder(#[from] std::io::Error),
}

/// A folder (`file:///data`), or a bucket and a folder in it (`s3://bucket/folder`). It holds no secret: it is shown in
/// the log and in `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl(Url);

impl FromStr for StoreUrl {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let url: Url = text.parse().map_err(drop)?;
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.port().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let is_known = match url.scheme() {
            "file" => url.to_file_path().is_ok_and(|path| path.is_absolute()),
            "s3" => url.has_host(),
            _ => false,
        };
        (is_bare && is_known).then_some(Self(url)).ok_or(())
    }
}

impl StoreUrl {
    pub(crate) fn is_s3(&self) -> bool {
        self.0.scheme() == "s3"
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Store {
    /// The store at `url`; a folder is made where it is missing.
    pub(crate) fn open(url: &StoreUrl, s3: &S3Settings) -> Result<Self, StoreError> {
        let StoreUrl(url) = url;
        match url.to_file_path() {
            Ok(folder) if url.scheme() == "file" => {
                std::fs::create_dir_all(&folder)?;
                clean(folder.clone());
                let folder = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
                Ok(Self::of(folder))
            }
            _ => Ok(Self {
                objects: Arc::new(bucket(url, s3, Retries::Some)?),
                probe: Arc::new(bucket(url, s3, Retries::None)?),
            }),
        }
    }

    /// A store that ends with the process.
    pub(crate) fn in_memory() -> Self {
        Self::of(InMemory::new())
    }

    fn of(objects: impl ObjectStore) -> Self {
        let objects: Arc<dyn ObjectStore> = Arc::new(objects);
        Self {
            probe: Arc::clone(&objects),
            objects,
        }
    }

    pub(crate) async fn put_image(
        &self,
        id: Uuid,
        variant: Variant,
        file: Bytes,
    ) -> Result<(), StoreError> {
        self.put(&image_path(id, variant), file).await
    }

    /// An image, of which only the beginning is read so far.
    pub(crate) async fn get_image(
        &self,
        id: Uuid,
        variant: Variant,
    ) -> Result<Option<StoredImage>, StoreError> {
        let path = image_path(id, variant);
        let options = GetOptions::new().with_range(Some(0..PART));
        match self.objects.get_opts(&path, options).await {
            Ok(object) => Ok(Some(StoredImage {
                size: object.meta.size,
                start: object.bytes().await?,
                objects: Arc::clone(&self.objects),
                path,
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn put_job(&self, job: &Job) -> Result<(), StoreError> {
        let record = serde_json::to_vec(job)?;
        self.put(&job_path(job.id), record.into()).await
    }

    pub(crate) async fn get_job(&self, id: Uuid) -> Result<Option<Job>, StoreError> {
        match self.get(&job_path(id)).await? {
            Some(record) => Ok(Some(serde_json::from_slice(&record)?)),
            None => Ok(None),
        }
    }

    /// Ids of jobs, the newest first: they begin with their time.
    pub(crate) async fn list_jobs(&self) -> Result<Vec<Uuid>, StoreError> {
        let mut listed = self.objects.list(Some(&Path::from(JOBS)));
        let mut ids = Vec::new();
        while let Some(object) = listed.try_next().await? {
            let name = object.location.filename();
            ids.extend(name.and_then(|name| name.parse::<Uuid>().ok()));
        }
        ids.sort_unstable_by(|one, other| other.cmp(one));
        Ok(ids)
    }

    /// Whether it can be written, and if not, why: a read-only disk and keys that are not taken show here. A full disk
    /// is ready: it takes no uploads and still has the images that there are.
    pub(crate) async fn ready(self) -> Result<(), String> {
        let (path, content) = (Path::from("ready"), Bytes::from_static(b"ready"));
        match put(&*self.probe, &path, content).await {
            Err(error) if is_full(&error) => Ok(()),
            put => put.map_err(|error| chain(&error)),
        }
    }

    async fn put(&self, path: &Path, content: Bytes) -> Result<(), StoreError> {
        put(&*self.objects, path, content).await
    }

    async fn get(&self, path: &Path) -> Result<Option<Bytes>, StoreError> {
        match self.objects.get(path).await {
            Ok(object) => Ok(Some(object.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl StoredImage {
    /// All of it. Each part is read when it is asked for.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, StoreError>> {
        let Self {
            size,
            start,
            objects,
            path,
        } = self;
        let at = start.len() as u64;
        let rest = stream::try_unfold((objects, path, at), move |(objects, path, at)| async move {
            if at >= size {
                return Ok(None);
            }
            let end = size.min(at + PART);
            let part = objects.get_range(&path, at..end).await?;
            Ok(Some((part, (objects, path, end))))
        });
        stream::once(async { Ok(start) }).chain(rest)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.objects)
    }
}

fn image_path(id: Uuid, variant: Variant) -> Path {
    Path::from_iter(["images", &id.to_string(), variant.name()])
}

fn job_path(id: Uuid) -> Path {
    Path::from_iter([JOBS, &id.to_string()])
}

/// Removes what a crash has left, in the background: a large folder takes a while.
fn clean(folder: PathBuf) {
    let first = Uuid::now_v7();
    spawn_blocking(move || match leftovers::remove(&folder, first) {
        Ok(0) => {}
        Ok(files) => tracing::info!(
            files,
            "removed what was half written when the process ended"
        ),
        Err(error) => tracing::warn!(error = chain(&error), "what was half written stays"),
    });
}

/// Whether there is no room left.
fn is_full(error: &StoreError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(StorageFull | QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}

async fn put(objects: &dyn ObjectStore, path: &Path, content: Bytes) -> Result<(), StoreError> {
    objects.put(path, PutPayload::from_bytes(content)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in ["file:///data", "s3://bucket", "s3://bucket/a/b"] {
            assert!(good.parse::<StoreUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/data",
            "data",
            "s3:///x",
            "http://x/y",
            "gs://x",
            "file://host/x",
            "file:///data?x=y",
            "file:///data#x",
            "s3://key:secret@bucket/a",
            "s3://key@bucket/a",
            "s3://:secret@bucket/a",
            "s3://bucket:9000/a",
            "s3://bucket/a?region=x",
            "s3://bucket/a#b",
        ] {
            assert!(bad.parse::<StoreUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn no_room_is_told_from_other_failures() {
        let failure = |kind: io::ErrorKind| {
            let (store, source) = ("LocalFileSystem", io::Error::from(kind).into());
            StoreError::from(object_store::Error::Generic { store, source })
        };
        assert!(is_full(&failure(StorageFull)));
        assert!(is_full(&failure(QuotaExceeded)));
        assert!(!is_full(&failure(io::ErrorKind::PermissionDenied)));
    }
}
