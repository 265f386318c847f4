//! Where images and jobs are kept: an object store, which is a folder here.
//!
//! `images/<id>/<variant>` and `jobs/<id>`; each object appears whole or not at
//! all, and is on the disk when it has been put.

use std::fmt;
use std::path::Path as Folder;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use service_kit::chain;
use uuid::Uuid;

use crate::job::Job;
use crate::variant::Variant;

/// The store. Clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the object store failed")]
    Objects(#[from] object_store::Error),
    #[error("a job record cannot be read")]
    Record(#[from] serde_json::Error),
}

impl Store {
    /// The store in a folder, which must exist.
    pub(crate) fn local(folder: &Folder) -> Result<Self, StoreError> {
        let objects = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self {
            objects: Arc::new(objects),
        })
    }

    pub(crate) async fn put_image(
        &self,
        id: Uuid,
        variant: Variant,
        file: Bytes,
    ) -> Result<(), StoreError> {
        self.put(&image_path(id, variant), file).await
    }

    pub(crate) async fn get_image(
        &self,
        id: Uuid,
        variant: Variant,
    ) -> Result<Option<Bytes>, StoreError> {
        self.get(&image_path(id, variant)).await
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

    /// Whether it can be written: a full or read-only disk shows here.
    pub(crate) async fn ready(self) -> Result<(), String> {
        let put = self
            .put(&Path::from("ready"), Bytes::from_static(b"ready"))
            .await;
        put.map_err(|error| chain(&error))
    }

    async fn put(&self, path: &Path, content: Bytes) -> Result<(), StoreError> {
        self.objects
            .put(path, PutPayload::from_bytes(content))
            .await?;
        Ok(())
    }

    async fn get(&self, path: &Path) -> Result<Option<Bytes>, StoreError> {
        match self.objects.get(path).await {
            Ok(object) => Ok(Some(object.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
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
    Path::from_iter(["jobs", &id.to_string()])
}
