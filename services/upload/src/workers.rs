//! The workers: a fixed number, each with one job at a time and no queue.
//!
//! An upload is handed from hand to hand: a free worker takes it, or it is
//! turned away. So what was accepted is being worked on, and a burst shows at
//! once instead of growing a queue that is lost in a crash.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use image::{ImageError, ImageResult};
use service_kit::{Lifecycle, chain};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::Instrument;
use uuid::Uuid;

use crate::inspect::{Inspected, Limits};
use crate::job::{Job, State};
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};
use crate::variant::{Variant, decode, resize};

/// How long an upload waits for a worker.
const HAND_OFF: Duration = Duration::from_millis(100);

/// The workers. Clones are the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    idle: Arc<Semaphore>,
    running: Arc<Mutex<HashSet<Uuid>>>,
    store: Store,
    lifecycle: Lifecycle,
    metrics: Metrics,
}

/// A worker, which is at work from here on: free again when dropped, which is
/// when its job has ended.
#[derive(Debug)]
pub(crate) struct Worker {
    workers: Workers,
    _place: OwnedSemaphorePermit,
}

/// An image that is to be worked on.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) file: Bytes,
    pub(crate) inspected: Inspected,
    pub(crate) limits: Limits,
    pub(crate) job: Job,
}

/// A job with its worker. Taken out of the running ones however its task ends.
struct Running {
    worker: Worker,
    id: Uuid,
    since: Instant,
}

impl Workers {
    pub(crate) fn new(number: usize, store: Store, lifecycle: Lifecycle, metrics: Metrics) -> Self {
        Self {
            idle: Arc::new(Semaphore::new(number)),
            running: Arc::default(),
            store,
            lifecycle,
            metrics,
        }
    }

    /// A worker, if one is or gets free within 100 ms.
    pub(crate) async fn idle(&self) -> Option<Worker> {
        let place = timeout(HAND_OFF, Arc::clone(&self.idle).acquire_owned()).await;
        Some(Worker::new(self.clone(), place.ok()?.ok()?))
    }

    pub(crate) fn is_running(&self, id: Uuid) -> bool {
        self.running().contains(&id)
    }

    fn running(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    fn new(workers: Workers, place: OwnedSemaphorePermit) -> Self {
        workers.metrics.busy_workers.inc();
        Self {
            workers,
            _place: place,
        }
    }

    /// Starts the job. Returns once the image and the record of the job are
    /// stored; from then on it is done or recorded as failed, also when the
    /// caller is gone and when the service is asked to end.
    pub(crate) async fn take(self, upload: Upload) -> Result<(), StoreError> {
        let (accepted, answer) = oneshot::channel();
        let lifecycle = self.workers.lifecycle.clone();
        // Of the highest level: where only errors are logged they need it most.
        let span =
            tracing::error_span!("job", job = %upload.job.id, request_id = upload.job.request);
        let running = self.begin(upload.job.id);
        lifecycle.spawn(running.run(upload, accepted).instrument(span));
        // The sender is only dropped unused by a panic of the task.
        answer.await.unwrap_or_else(|_| {
            let source = "the worker panicked".into();
            let store = "worker";
            Err(object_store::Error::Generic { store, source }.into())
        })
    }

    fn begin(self, id: Uuid) -> Running {
        self.workers.running().insert(id);
        Running {
            worker: self,
            id,
            since: Instant::now(),
        }
    }
}

impl Running {
    async fn run(self, upload: Upload, accepted: oneshot::Sender<Result<(), StoreError>>) {
        let workers = &self.worker.workers;
        let stored = workers.store_original(&upload).await;
        let go_on = stored.is_ok();
        let _ = accepted.send(stored);
        if go_on {
            tracing::info!("a worker has the job");
            workers.metrics.accepted.inc();
            workers.work(upload).await;
        }
    }
}

impl Workers {
    async fn store_original(&self, upload: &Upload) -> Result<(), StoreError> {
        let (id, file) = (upload.job.id, upload.file.clone());
        self.store.put_image(id, Variant::Original, file).await?;
        self.store.put_job(&upload.job).await
    }

    async fn work(&self, upload: Upload) {
        let mut job = upload.job.clone();
        job.state = match self.store_variants(upload).await {
            Ok(variants) => State::Done { variants },
            Err(reason) => State::Failed { reason },
        };
        let recorded = self.store.put_job(&job).await;
        match (recorded, &job.state) {
            (Ok(()), State::Done { .. }) => {
                self.metrics.done.inc();
                tracing::info!("the job is done");
            }
            (Ok(()), state) => {
                self.metrics.failed.inc();
                tracing::warn!(?state, "the job has failed");
            }
            // Read as a job that was cut off.
            (Err(error), _) => {
                self.metrics.failed.inc();
                tracing::error!(error = chain(&error), "the end of the job is not recorded");
            }
        }
    }

    /// The variants that there are in the end, or a reason for the uploader.
    async fn store_variants(&self, upload: Upload) -> Result<Vec<Variant>, String> {
        let id = upload.job.id;
        let resized = spawn_blocking(move || resize_all(&upload)).await;
        let files = match resized {
            Ok(Ok(files)) => files,
            Ok(Err(ImageError::Limits(_))) => {
                return Err("decoding the image takes more memory than it may".to_owned());
            }
            Ok(Err(error)) => return Err(format!("the image is damaged: {}", chain(&error))),
            Err(panic) => {
                tracing::error!(error = chain(&panic), "decoding panicked");
                return Err("the image cannot be decoded".to_owned());
            }
        };
        // All at once: at shutdown there is not the time for one after the other.
        let puts = files
            .into_iter()
            .map(|(variant, file)| self.store.put_image(id, variant, file));
        if let Err(error) = try_join_all(puts).await {
            tracing::error!(error = chain(&error), "a variant was not stored");
            return Err("the results could not be stored".to_owned());
        }
        Ok(Variant::ALL.to_vec())
    }
}

fn resize_all(upload: &Upload) -> ImageResult<Vec<(Variant, Bytes)>> {
    let format = upload.inspected.format;
    let image = decode(&upload.file, format, upload.limits)?;
    let resize = |variant| Ok((variant, resize(&image, variant, format)?.into()));
    Variant::RESIZED.into_iter().map(resize).collect()
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Before its place is free: no more are busy than there are.
        self.workers.metrics.busy_workers.dec();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let workers = &self.worker.workers;
        let seconds = self.since.elapsed().as_secs_f64();
        workers.metrics.seconds.observe(seconds);
        workers.running().remove(&self.id);
    }
}
