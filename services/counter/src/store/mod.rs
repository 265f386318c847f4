//! Where the counters are: one interface, Redis behind it or this process's memory.

mod memory;
mod redis;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::name::CounterName;

pub use memory::Memory;
pub use redis::InRedis;

/// Named counters.
pub trait Counters: fmt::Debug + Send + Sync {
    /// Counts, once, and gives the new value.
    ///
    /// # Errors
    /// Says whether it may have been counted.
    fn add<'a>(&'a self, name: &'a CounterName, by: i64) -> BoxFuture<'a, Result<i64, StoreError>>;

    /// The value of a counter; none for one that was never counted.
    ///
    /// # Errors
    /// When the store does not answer.
    fn get<'a>(&'a self, name: &'a CounterName) -> BoxFuture<'a, Result<Option<i64>, StoreError>>;

    /// A page of the counters. One that is made or deleted meanwhile may be in it or not.
    ///
    /// # Errors
    /// When the store does not answer.
    fn list(&self, page: Page) -> BoxFuture<'_, Result<BTreeMap<String, i64>, StoreError>>;

    /// Forgets a counter, also where there is none.
    ///
    /// # Errors
    /// When it may still be there.
    fn delete<'a>(&'a self, name: &'a CounterName) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// A part of the counters, by name in the order of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only names that come after this one.
    pub after: Option<String>,
    /// How many at most: the first of them.
    pub limit: usize,
}

/// The store that a service works with.
pub type Store = Arc<dyn Counters>;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing happened.
    #[error("the store does not answer")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// It may have happened, and may be lost again.
    #[error("whether the store did it is not known")]
    OutcomeUnknown(#[source] Box<dyn Error + Send + Sync>),
    /// The counter would leave the range of 64 bits; it was not changed.
    #[error("the counter would overflow")]
    Overflow,
}
