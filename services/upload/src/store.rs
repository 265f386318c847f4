//! Where images and jobs are kept: an object store, which is a folder, S3 or memory.
//!
//! `images/<id>/<variant>` and `jobs/<id>`; each object appears whole or not at
//! all, and is on the disk when it has been put.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Certificate, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload};
use service_kit::chain;
use url::Url;
use uuid::Uuid;

use crate::job::Job;
use crate::variant::Variant;

const JOBS: &str = "jobs";

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
    #[error("the folder cannot be made")]
    Folder(#[from] std::io::Error),
}

/// A folder (`file:///data`), or a bucket and a folder in it (`s3://bucket/folder`). Endpoint, region and keys of S3
/// are in the variables `AWS_…`, as its other programs read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl(Url);

impl FromStr for StoreUrl {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let url: Url = text.parse().map_err(drop)?;
        let is_known = match url.scheme() {
            "file" => url.to_file_path().is_ok_and(|path| path.is_absolute()),
            "s3" => url.has_host(),
            _ => false,
        };
        is_known.then_some(Self(url)).ok_or(())
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Store {
    /// The store at `url`; a folder is made where it is missing.
    pub(crate) fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        let StoreUrl(url) = url;
        let objects: Arc<dyn ObjectStore> = match url.to_file_path() {
            Ok(folder) if url.scheme() == "file" => {
                std::fs::create_dir_all(&folder)?;
                Arc::new(LocalFileSystem::new_with_prefix(folder)?.with_fsync(true))
            }
            _ => {
                let folder = url.path().trim_matches('/');
                Arc::new(PrefixStore::new(bucket(url)?, folder))
            }
        };
        Ok(Self { objects })
    }

    /// A store that ends with the process.
    pub(crate) fn in_memory() -> Self {
        Self {
            objects: Arc::new(InMemory::new()),
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
    Path::from_iter([JOBS, &id.to_string()])
}

/// The roots are in the binary: the image it runs in holds nothing else.
fn bucket(url: &Url) -> Result<AmazonS3, object_store::Error> {
    // Fails when it was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = ClientOptions::new();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        options = options.with_root_certificate(Certificate::from_der(root)?);
    }
    let allow_http = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value == "true");
    AmazonS3Builder::from_env()
        .with_client_options(options.with_allow_http(allow_http))
        .with_bucket_name(url.host_str().unwrap_or_default())
        .build()
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
        ] {
            assert!(bad.parse::<StoreUrl>().is_err(), "{bad}");
        }
    }
}
