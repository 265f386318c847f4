//! Counters in one hash of Redis, so that listing them reads nothing else and a name can collide with no other key.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt};
use redis::cmd;
use service_kit::Lifecycle;
use service_kit::redis::{CommandError, Durable, Redis};

use super::{Counters, Page, StoreError};
use crate::name::CounterName;

const KEY: &str = "counters";
/// How many counters one step of a listing asks for, so that a long listing
/// does not keep Redis from others.
const STEP: usize = 1000;

/// Counters in Redis. Clones share the connections.
#[derive(Clone, Debug)]
pub struct InRedis {
    redis: Redis,
    writes: Durable,
}

impl InRedis {
    /// The counters in that Redis. Starts the task that writes.
    pub fn new(redis: Redis, lifecycle: &Lifecycle) -> Self {
        Self {
            writes: Durable::new(&redis, lifecycle),
            redis,
        }
    }

    /// Sent once and never again: whether a command that got no answer has run cannot be known.
    async fn count(&self, name: &CounterName, by: i64) -> Result<i64, StoreError> {
        let mut command = cmd("HINCRBY");
        command.arg(KEY).arg(name.as_str()).arg(by);
        self.writes.write(command).await.map_err(StoreError::from)
    }

    async fn value(&self, name: &CounterName) -> Result<Option<i64>, StoreError> {
        let mut command = cmd("HGET");
        command.arg(KEY).arg(name.as_str());
        Ok(self.redis.query_twice(&command).await?)
    }

    /// A hash has no order: all of it is looked through, and no more than the page is kept.
    async fn values(&self, page: Page) -> Result<BTreeMap<String, i64>, StoreError> {
        let Page { after, limit } = page;
        let mut counters = BTreeMap::new();
        let mut cursor = 0;
        loop {
            let mut command = cmd("HSCAN");
            command.arg(KEY).arg(cursor).arg("COUNT").arg(STEP);
            let (next, step): (u64, Vec<(String, i64)>) = self.redis.query_twice(&command).await?;
            let wanted =
                |(name, _): &(String, i64)| after.as_ref().is_none_or(|after| name > after);
            for (name, value) in step.into_iter().filter(wanted) {
                counters.insert(name, value);
                if counters.len() > limit {
                    counters.pop_last();
                }
            }
            cursor = next;
            if cursor == 0 {
                return Ok(counters);
            }
        }
    }

    async fn forget(&self, name: &CounterName) -> Result<(), StoreError> {
        let mut command = cmd("HDEL");
        command.arg(KEY).arg(name.as_str());
        Ok(self.writes.write(command).await?)
    }
}

impl Counters for InRedis {
    fn add<'a>(&'a self, name: &'a CounterName, by: i64) -> BoxFuture<'a, Result<i64, StoreError>> {
        self.count(name, by).boxed()
    }

    fn get<'a>(&'a self, name: &'a CounterName) -> BoxFuture<'a, Result<Option<i64>, StoreError>> {
        self.value(name).boxed()
    }

    fn list(&self, page: Page) -> BoxFuture<'_, Result<BTreeMap<String, i64>, StoreError>> {
        self.values(page).boxed()
    }

    fn delete<'a>(&'a self, name: &'a CounterName) -> BoxFuture<'a, Result<(), StoreError>> {
        self.forget(name).boxed()
    }
}

impl From<CommandError> for StoreError {
    fn from(error: CommandError) -> Self {
        match &error {
            CommandError::Refused(cause) if overflows(cause) => Self::Overflow,
            _ if error.may_have_run() => Self::OutcomeUnknown(Box::new(error)),
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}

/// Redis has no error code for it, only this text.
fn overflows(error: &redis::RedisError) -> bool {
    error
        .detail()
        .is_some_and(|detail| detail.contains("would overflow"))
}
