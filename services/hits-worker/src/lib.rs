//! Reads the increments that `hits-api` put on a Redis stream and adds them to
//! sums in PostgreSQL, in batches, each increment exactly once.
//!
//! An increment has an id. It is committed in the same transaction as the sum
//! it went into, so however often the stream delivers it (a worker died, an
//! acknowledgement got lost, PostgreSQL did not say whether it committed), only
//! the first time counts.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch;
mod message;
mod metrics;
mod stream;
mod sums;
mod worker;

use std::time::Duration;

use service_kit::config::{parsed, seconds, text};
use service_kit::postgres::{self, Postgres};
use service_kit::redis::{Place, REDIS_URL, Redis};
use service_kit::{Kit, Reader, StartError, Unusable, Variable};
use tokio_postgres::config::Config as DatabaseConfig;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::stream::Stream;
use crate::sums::Sums;
use crate::worker::Worker;

const FLUSH_SECONDS: Variable<Duration> =
    Variable::new("FLUSH_SECONDS", "seconds from 0.1 to 9", |text| {
        // Above 9 the sums could be more than 10 seconds behind.
        seconds(text).filter(|flush| (0.1..=9.0).contains(&flush.as_secs_f64()))
    });
const BATCH_MESSAGES: Variable<usize> =
    Variable::new("BATCH_MESSAGES", "a number from 1 to 100000", |text| {
        parsed(text).filter(|number| (1..=100_000).contains(number))
    });
/// Kubernetes sets it to the name of the pod.
const HOSTNAME: Variable<String> = Variable::new("HOSTNAME", "a name", text);

/// What the service reads from its environment, besides what every service reads.
#[derive(Debug)]
pub struct Config {
    /// `REDIS_URL`: where the stream is.
    pub redis: Place,
    /// `DATABASE_URL`: where the sums are.
    pub database: DatabaseConfig,
    /// `FLUSH_SECONDS`, default 1: how long increments are gathered before
    /// they are written.
    pub flush: Duration,
    /// `BATCH_MESSAGES`, default 10000: how many are gathered at most.
    pub batch: usize,
    /// `HOSTNAME`, default `worker`: the start of the name in the consumer group.
    pub host: String,
}

/// Reads the configuration.
///
/// # Errors
/// When a variable is missing or unusable.
pub fn configure(env: &mut Reader<'_>) -> Result<Config, Unusable> {
    let redis = env.required(&REDIS_URL);
    let database = env.required(&postgres::DATABASE_URL);
    let flush = env.or(&FLUSH_SECONDS, Duration::from_secs(1));
    let batch = env.or(&BATCH_MESSAGES, 10_000);
    let host = env.or(&HOSTNAME, "worker".to_owned());
    Ok(Config {
        redis: redis?,
        database: database?,
        flush: flush?,
        batch: batch?,
        host: host?,
    })
}

/// Starts the worker in the background. There are no routes but those that
/// every service has.
///
/// # Errors
/// When the pool refuses its settings.
pub async fn start(config: Config, kit: &mut Kit) -> Result<OpenApiRouter, StartError> {
    let redis = Redis::new(config.redis);
    // One for the worker, one for readiness.
    let postgres = Postgres::new(config.database, kit.about().name, 2)?;
    postgres.migrate_in_background(kit.lifecycle(), sums::MIGRATIONS);

    let checked = redis.clone();
    kit.ready_when("redis", move || checked.clone().ready());
    let checked = postgres.clone();
    kit.ready_when("postgres", move || checked.clone().ready());

    // A name of its own for every process: a consumer that leaves takes what
    // is pending under its name with it.
    let consumer = format!("{}-{}", config.host, Uuid::new_v4().simple());
    let worker = Worker {
        stream: Stream::new(&redis, consumer),
        sums: Sums::new(postgres),
        metrics: kit.register_metrics(Metrics::register),
        flush: config.flush,
        batch: config.batch,
        stopping: kit.lifecycle().stopping(),
    };
    kit.lifecycle().spawn_essential("worker", worker.run());
    Ok(OpenApiRouter::new())
}
