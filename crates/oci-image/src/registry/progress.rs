//! What is told about blobs on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Descriptor, Digest};

/// Hears how far each blob is; called from the tasks that move them, so it returns at once.
pub trait Observer: Send + Sync {
    /// A blob moved, or came to its end.
    fn progress(&self, transfer: Transfer);
}

/// Where one blob stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Which blob.
    pub digest: Digest,
    /// Bytes in all.
    pub size: u64,
    /// Bytes that moved so far; goes back where a registry lost some of them.
    pub done: u64,
    /// How it ended; `None` while it is on its way.
    pub outcome: Option<Outcome>,
}

/// How a blob came to be where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was there.
    Existing,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Uploaded,
    /// It was fetched.
    Downloaded,
}

/// Hears nothing.
pub(super) struct Unobserved;

impl Observer for Unobserved {
    fn progress(&self, _transfer: Transfer) {}
}

/// The progress of one blob.
pub(super) struct Meter {
    observer: Arc<dyn Observer>,
    digest: Digest,
    size: u64,
    done: AtomicU64,
}

impl Meter {
    pub(super) fn new(observer: Arc<dyn Observer>, blob: &Descriptor) -> Self {
        Self {
            observer,
            digest: blob.digest,
            size: blob.size,
            done: AtomicU64::new(0),
        }
    }

    pub(super) fn moved(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.tell(None);
    }

    /// The registry says how far it is.
    pub(super) fn at(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.tell(None);
    }

    pub(super) fn ended(&self, outcome: Outcome) {
        self.done.store(self.size, Ordering::Relaxed);
        self.tell(Some(outcome));
    }

    fn tell(&self, outcome: Option<Outcome>) {
        self.observer.progress(Transfer {
            digest: self.digest,
            size: self.size,
            done: self.done.load(Ordering::Relaxed).min(self.size),
            outcome,
        });
    }
}
