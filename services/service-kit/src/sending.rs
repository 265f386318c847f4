//! The body of an answer on its way to the client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use crate::metrics::InFlight;

/// What a request holds until its answer is sent.
pub(crate) struct Held {
    _in_flight: InFlight,
    _place: Option<OwnedSemaphorePermit>,
}

/// A body that holds what its request holds until the last of its bytes is written to the connection, and that breaks
/// off when the handler gives nothing more of it for too long.
pub(crate) struct Sending {
    body: Body,
    held: Arc<Held>,
    limit: Duration,
    /// Runs while the next part is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Bytes of a body. The server drops them once they are written, which may be long after it has dropped the body.
struct Part {
    data: Bytes,
    _held: Arc<Held>,
}

impl Held {
    /// No place where the request needs none.
    pub(crate) fn new(in_flight: InFlight, place: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            _in_flight: in_flight,
            _place: place,
        }
    }
}

impl Sending {
    /// `limit` is for each part of the body.
    pub(crate) fn new(body: Body, held: Held, limit: Duration) -> Self {
        Self {
            body,
            held: Arc::new(held),
            limit,
            deadline: None,
        }
    }

    fn part(&self, data: Bytes) -> Bytes {
        Bytes::from_owner(Part {
            data,
            _held: Arc::clone(&self.held),
        })
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.deadline = None;
            let held = |frame: Frame<Bytes>| frame.map_data(|data| self.part(data));
            return Poll::Ready(frame.map(|frame| frame.map(held)));
        }
        let limit = self.limit;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(deadline.as_mut().poll(cx));
        let late = io::Error::new(io::ErrorKind::TimedOut, "the rest of the answer is late");
        Poll::Ready(Some(Err(axum::Error::new(late))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}
