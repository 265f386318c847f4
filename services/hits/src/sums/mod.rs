//! The sums, with the events that are in them: one interface, PostgreSQL behind it or this process's memory.

mod memory;
mod postgres;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::increment::Increment;

pub use memory::MemorySums;
pub use postgres::PostgresSums;

/// How long an event is remembered beyond its message: when Redis fails over to a replica that did not hear that a
/// message was settled, it is on the stream again.
const BEYOND: Duration = Duration::from_secs(60 * 60);

/// How long ago an event must have been applied to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// One that [comes of an `Idempotency-Key`](crate::is_keyed): the client may repeat it.
    pub keyed: Duration,
    /// Any other.
    pub other: Duration,
}

impl Ages {
    /// Those from which nothing comes again: `oldest` is the age of the oldest message on the stream, and nothing that
    /// was applied before it was put there is on the stream; a client repeats what is up to `remembered` old.
    pub fn beyond(oldest: Duration, remembered: Duration) -> Self {
        Self {
            keyed: oldest + remembered.max(BEYOND),
            other: oldest + BEYOND,
        }
    }
}

/// The sums of all keys.
pub trait Sums: fmt::Debug + Send + Sync {
    /// Adds the increments whose events are not in the sums yet, all or none of them, and gives the number of those
    /// that were. May be repeated after any error: what was added is known by its events.
    ///
    /// # Errors
    /// Says whether repeating it is of any use.
    fn apply<'a>(&'a self, increments: &'a [Increment]) -> BoxFuture<'a, Result<usize, SumsError>>;

    /// The sum of a key; none where nothing was summed up yet. It may be wider than the 64 bits of each increment.
    ///
    /// # Errors
    /// When the sums cannot be asked.
    fn get(&self, key: Uuid) -> BoxFuture<'_, Result<Option<u128>, SumsError>>;

    /// Forgets some of the events that are so old, and gives their number; none are left when it is 0.
    ///
    /// # Errors
    /// When the sums do not answer.
    fn forget(&self, ages: Ages) -> BoxFuture<'_, Result<u64, SumsError>>;
}

/// Why the sums did not do it, or did not say so.
#[derive(Debug, thiserror::Error)]
pub enum SumsError {
    /// They cannot be reached, or failed.
    #[error("the sums are away")]
    Away(#[source] Box<dyn Error + Send + Sync>),
    /// They will not take these data however often they are sent, such as a sum that is too large.
    #[error("the sums refused it")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
}
