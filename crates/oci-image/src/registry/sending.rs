//! A body on its way to a registry.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use reqwest::Body;
use tokio::time::Instant;

use super::progress::Meter;
use super::source::{BlobSource, pieces};

/// Some of a blob.
pub(super) struct Part {
    pub(super) source: Arc<dyn BlobSource>,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) meter: Arc<Meter>,
}

/// A body on its way: when it last moved, and what stopped it on our side.
pub(super) struct Sending {
    moved: Mutex<Instant>,
    failure: Mutex<Option<io::Error>>,
}

impl Default for Sending {
    fn default() -> Self {
        Self {
            moved: Mutex::new(Instant::now()),
            failure: Mutex::default(),
        }
    }
}

impl Sending {
    /// The bytes of `part`, as they are asked for.
    pub(super) fn body(self: &Arc<Self>, part: &Part) -> Body {
        part.meter.at(part.offset);
        let (on_piece, on_error) = (Arc::clone(self), Arc::clone(self));
        let meter = Arc::clone(&part.meter);
        let stream = pieces(Arc::clone(&part.source), part.offset, part.length)
            .inspect_ok(move |piece| {
                *on_piece
                    .moved
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Instant::now();
                meter.moved(piece.len() as u64);
            })
            .map_err(move |error| {
                let told = io::Error::new(error.kind(), error.to_string());
                *on_error
                    .failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(error);
                told
            });
        Body::wrap_stream(stream)
    }

    fn last_moved(&self) -> Instant {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why our side could not give more.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The result of `request`, or `None` once nothing moved for as long as `idle`.
    pub(super) async fn while_moving<F: Future>(
        &self,
        idle: Duration,
        request: F,
    ) -> Option<F::Output> {
        tokio::pin!(request);
        loop {
            let deadline = self.last_moved() + idle;
            tokio::select! {
                output = &mut request => return Some(output),
                () = tokio::time::sleep_until(deadline) => {
                    if self.last_moved() + idle <= Instant::now() {
                        return None;
                    }
                }
            }
        }
    }
}
