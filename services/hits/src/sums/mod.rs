//! The sums, with the events that are in them: one interface, PostgreSQL behind it or this process's memory.

mod memory;
mod postgres;

use std::error::Error;
use std::fmt;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::increment::Increment;

pub use memory::MemorySums;
pub use postgres::PostgresSums;

/// How many days an event is remembered after it was applied.
pub const REMEMBERED_DAYS: u64 = 7;

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

    /// Forgets some of the events that were applied more than [`REMEMBERED_DAYS`] ago, and gives their number; none
    /// are left when it is 0.
    ///
    /// # Errors
    /// When the sums do not answer.
    fn forget(&self) -> BoxFuture<'_, Result<u64, SumsError>>;
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
