//! Where the counters are: one hash of Redis, so that listing them reads
//! nothing else and a name can collide with no other key.

use std::collections::BTreeMap;

use redis::cmd;
use service_kit::redis::{CommandError, Redis};

use crate::name::CounterName;

const KEY: &str = "counters";
/// How many counters one step of a listing asks for, so that a long listing
/// does not keep Redis from others.
const PAGE: usize = 1000;

/// The counters. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Store {
    redis: Redis,
}

impl Store {
    /// The counters in that Redis.
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    /// Counts, and gives the new value. Sent once and never again: whether a
    /// command that got no answer has run cannot be known.
    pub(crate) async fn add(&self, name: &CounterName, by: i64) -> Result<i64, CommandError> {
        let mut command = cmd("HINCRBY");
        command.arg(KEY).arg(name.as_str()).arg(by);
        self.redis.query(&command).await
    }

    pub(crate) async fn get(&self, name: &CounterName) -> Result<Option<i64>, CommandError> {
        let mut command = cmd("HGET");
        command.arg(KEY).arg(name.as_str());
        self.redis.query_twice(&command).await
    }

    /// All counters. One that is made or deleted meanwhile may be in it or not.
    pub(crate) async fn list(&self) -> Result<BTreeMap<String, i64>, CommandError> {
        let mut counters = BTreeMap::new();
        let mut cursor = 0;
        loop {
            let mut command = cmd("HSCAN");
            command.arg(KEY).arg(cursor).arg("COUNT").arg(PAGE);
            let (next, page): (u64, Vec<(String, i64)>) = self.redis.query_twice(&command).await?;
            counters.extend(page);
            cursor = next;
            if cursor == 0 {
                return Ok(counters);
            }
        }
    }

    pub(crate) async fn delete(&self, name: &CounterName) -> Result<(), CommandError> {
        let mut command = cmd("HDEL");
        command.arg(KEY).arg(name.as_str());
        self.redis.query_twice(&command).await
    }
}
