//! The variables that both services read.

use std::time::Duration;

use service_kit::config::{parsed, seconds};
use service_kit::redis::{self, Place, REDIS_URL};
use service_kit::{Reader, Unusable, Variable, postgres};
use tokio_postgres::config::Config as DatabaseConfig;

/// How long an `Idempotency-Key` is remembered after its increment was applied, where nothing else is said.
pub const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const FLUSH_SECONDS: Variable<Duration> =
    Variable::new("FLUSH_SECONDS", "seconds from 0.1 to 9", |text| {
        // What is left up to 10 is for taking over from a worker that died, and for the write itself.
        seconds(text).filter(|flush| (0.1..=9.0).contains(&flush.as_secs_f64()))
    });
const BATCH_MESSAGES: Variable<usize> =
    Variable::new("BATCH_MESSAGES", "a number from 1 to 20000", |text| {
        // A worker has two batches in memory, and who takes over from it has to be quick.
        parsed(text).filter(|number| (1..=20_000).contains(number))
    });
const IDEMPOTENCY_DAYS: Variable<Duration> =
    Variable::new("IDEMPOTENCY_DAYS", "a number from 1 to 365", |text| {
        let days = parsed(text).filter(|days| (1..=365).contains(days));
        days.map(|days: u32| DAY * days)
    });
const NEEDS_REDIS: Variable<Place> = Variable::secret(
    "REDIS_URL",
    "it beside DATABASE_URL, which is set, or neither, to keep all in memory",
    redis::url,
);
const NEEDS_DATABASE: Variable<DatabaseConfig> = Variable::secret(
    "DATABASE_URL",
    "it beside REDIS_URL, which is set, or neither, to keep all in memory",
    postgres::url,
);

/// The servers between which increments go their way.
#[derive(Debug)]
pub struct Servers {
    /// `REDIS_URL`: where the stream is.
    pub redis: Place,
    /// `DATABASE_URL`: where the sums are.
    pub database: DatabaseConfig,
}

/// How much is gathered before it is written.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// `FLUSH_SECONDS`, default 1: how old an increment gets before it is written with all that came after it.
    pub flush: Duration,
    /// `BATCH_MESSAGES`, default 10000: how many are written at once, at most, and sooner when there are so many.
    pub batch: usize,
}

/// Reads `REDIS_URL` and `DATABASE_URL`; none, outside Kubernetes, where neither is set.
///
/// # Errors
/// When one is unusable, or set without the other: part of the data would end with the process.
pub fn servers(env: &mut Reader<'_>) -> Result<Option<Servers>, Unusable> {
    let redis = env.store(&REDIS_URL);
    let database = env.store(&postgres::DATABASE_URL);
    let (redis, database) = match (redis?, database?) {
        (None, None) => return Ok(None),
        (Some(redis), Some(database)) => (redis, database),
        (Some(redis), None) => (redis, env.required(&NEEDS_DATABASE)?),
        (None, Some(database)) => (env.required(&NEEDS_REDIS)?, database),
    };
    Ok(Some(Servers { redis, database }))
}

/// Reads `FLUSH_SECONDS` and `BATCH_MESSAGES`.
///
/// # Errors
/// When one is unusable.
pub fn pace(env: &mut Reader<'_>) -> Result<Pace, Unusable> {
    let default = Pace::default();
    let flush = env.or(&FLUSH_SECONDS, default.flush);
    let batch = env.or(&BATCH_MESSAGES, default.batch);
    Ok(Pace {
        flush: flush?,
        batch: batch?,
    })
}

/// Reads `IDEMPOTENCY_DAYS`: how long an `Idempotency-Key` is remembered, default [`REMEMBERED`].
///
/// # Errors
/// When it is unusable.
pub fn remembered(env: &mut Reader<'_>) -> Result<Duration, Unusable> {
    env.or(&IDEMPOTENCY_DAYS, REMEMBERED)
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            flush: Duration::from_secs(1),
            batch: 10_000,
        }
    }
}
