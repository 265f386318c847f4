//! Increments that count exactly once: `hits-api` puts them on a [stream], a [`Worker`] adds them to
//! [sums] in batches.
//!
//! An increment has a name, its event. It is committed in the same transaction as the sum it went into, so however
//! often the stream delivers it (a worker died, an acknowledgement got lost, PostgreSQL did not say whether it
//! committed), only the first time counts.
//!
//! Stream and sums are two small traits. Behind them are Redis and PostgreSQL, or the memory of one process, in which
//! then all of it runs.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch;
mod config;
mod increment;
mod metrics;
pub mod stream;
pub mod sums;
mod worker;

use std::sync::Arc;

use service_kit::{Kit, Store};

use crate::stream::MemoryStream;
use crate::sums::MemorySums;

pub use crate::config::{Pace, REMEMBERED, Servers, pace, remembered, servers};
pub use crate::increment::{Fault, Fields, Increment, is_keyed};
pub use crate::worker::Worker;

/// Where increments and sums are when no servers are named: in this process, which works on them itself.
pub fn embedded(kit: &mut Kit, pace: Pace) -> (MemoryStream, MemorySums) {
    kit.keeps(Store::embedded("increments", "memory"));
    kit.keeps(Store::embedded("sums", "memory"));
    let (stream, sums) = (MemoryStream::default(), MemorySums::default());
    let worker = Worker {
        stream: Arc::new(stream.consumer("embedded")),
        sums: Arc::new(sums.clone()),
        pace,
        remembered: REMEMBERED,
    };
    worker.start(kit);
    (stream, sums)
}
