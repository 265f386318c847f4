//! The stream between `hits-api` and the workers: one interface for each end, Redis behind them or this process's
//! memory.
//!
//! A message is delivered to one consumer, and stays on the stream until that one has settled or rejected it. What a
//! consumer has when it dies is taken over by another, so a message may be delivered more than once, and never not at
//! all.

mod entry;
mod memory;
mod redis;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::increment::{Fields, Increment};

pub use entry::{Entry, entries, read_entries};
pub use memory::{MemoryConsumer, MemoryStream};
pub use redis::{RedisConsumer, RedisProducer, living};

/// Where increments are put.
pub trait Producer: fmt::Debug + Send + Sync {
    /// Appends an increment. It is on the stream, durably, when this succeeds.
    ///
    /// # Errors
    /// Says whether it may be there nevertheless.
    fn append<'a>(&'a self, increment: &'a Increment) -> BoxFuture<'a, Result<(), AppendError>>;
}

/// The stream as one of its consumers sees it.
pub trait Consumer: fmt::Debug + Send + Sync {
    /// Up to `count` messages that no consumer has had yet; waits up to `wait` for the first. Do not drop it midway:
    /// what the stream has handed out then comes only when this consumer is thought to be dead.
    ///
    /// # Errors
    /// When the stream does not answer.
    fn read(
        &self,
        count: usize,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Message>, StreamError>>;

    /// How the stream stands; with up to `count` messages that are taken over from consumers that died. To be asked
    /// several times a second: it is also the sign of life of this one.
    ///
    /// # Errors
    /// When the stream does not answer.
    fn survey(&self, count: usize) -> BoxFuture<'_, Result<Survey, StreamError>>;

    /// Takes messages off the stream that have been applied, but none that was delivered again meanwhile.
    ///
    /// # Errors
    /// When the stream does not answer. They are delivered again, to this consumer or another.
    fn settle<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Result<(), StreamError>>;

    /// Moves messages to the dead letters, but none that was delivered again meanwhile, and gives their number.
    ///
    /// # Errors
    /// When the stream does not answer. What was not moved is delivered again.
    fn reject<'a>(&'a self, letters: &'a [DeadLetter])
    -> BoxFuture<'a, Result<usize, StreamError>>;

    /// Ends it. What it has not settled is left to others.
    ///
    /// # Errors
    /// When the stream does not answer; others notice by themselves then.
    fn leave(&self) -> BoxFuture<'_, Result<(), StreamError>>;
}

/// One delivery of a message. The id alone is not enough: after a failure of Redis that lost a message another may have
/// its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    /// The name of the consumer that has it, as it was then.
    pub consumer: Arc<str>,
    /// Where it is on the stream: `milliseconds-sequence`.
    pub id: String,
}

/// A message as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which one.
    pub delivery: Delivery,
    /// When it was put there.
    pub added: Instant,
    /// What is in it.
    pub fields: Fields,
}

/// A message that can never be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message.
    pub delivery: Delivery,
    /// Why it cannot be applied.
    pub reason: String,
    /// Its fields, as JSON.
    pub content: String,
    /// The request that brought it, where that is known.
    pub request_id: Option<String>,
}

/// How the stream stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many messages are on it: delivered or not, none of them settled.
    pub messages: u64,
    /// When the oldest of them was put there.
    pub oldest: Option<Instant>,
    /// What a dead consumer had.
    pub taken_over: Vec<Message>,
}

/// Why an increment was not appended, or nobody knows whether it was.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It is not on the stream.
    #[error("the stream takes no increments")]
    NotAppended(#[source] Box<dyn Error + Send + Sync>),
    /// It is not on the stream, which is as long as it may get.
    #[error("{0} increments wait on the stream")]
    Full(u64),
    /// It may be on the stream, and may be lost again.
    #[error("whether the increment is on the stream is not known")]
    OutcomeUnknown(#[source] Box<dyn Error + Send + Sync>),
}

/// Why the stream did not do it, or did not say so.
#[derive(Debug, thiserror::Error)]
#[error("the stream does not answer")]
pub struct StreamError(#[source] Box<dyn Error + Send + Sync>);

impl StreamError {
    /// With its cause.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
