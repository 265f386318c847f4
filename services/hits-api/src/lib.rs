//! `POST /increment` puts an increment on a Redis stream, from which `hits-worker` sums them up in PostgreSQL;
//! `GET /increment/{key}` reads the sum. What is between the two is in [`hits`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod metrics;
mod routes;

use std::sync::Arc;

use hits::stream::{Producer, RedisProducer};
use hits::sums::{PostgresSums, Sums};
use hits::{Pace, Servers};
use service_kit::config::parsed;
use service_kit::postgres::{self, Postgres};
use service_kit::redis::Redis;
use service_kit::{Kit, Reader, StartError, Store, Unusable, Variable};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use crate::metrics::Metrics;

/// Not half of what the Redis of this repository has, at 150 bytes each.
const BACKLOG: u64 = 500_000;
const MAX_BACKLOG: Variable<u64> = Variable::new("MAX_BACKLOG", "a number, at least 1", |text| {
    parsed(text).filter(|number| *number >= 1)
});

/// What the service reads from its environment, besides what every service reads.
#[derive(Debug)]
pub struct Config {
    /// `REDIS_URL` and `DATABASE_URL`; without them, which is refused in Kubernetes, increments and sums are kept in
    /// memory, and this process is its own worker.
    pub servers: Option<Servers>,
    /// `DATABASE_CONNECTIONS`, default 4: the size of the pool of one replica.
    pub connections: usize,
    /// `MAX_BACKLOG`, default 500000: how many increments may wait on the stream, about; more are refused.
    pub backlog: u64,
    /// `FLUSH_SECONDS` and `BATCH_MESSAGES`, for that worker.
    pub pace: Pace,
}

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct State {
    /// Where increments go.
    pub stream: Arc<dyn Producer>,
    /// Where their sums are.
    pub sums: Arc<dyn Sums>,
    /// What is counted.
    pub metrics: Metrics,
}

/// Reads the configuration.
///
/// # Errors
/// When a variable is missing or unusable.
pub fn configure(env: &mut Reader<'_>) -> Result<Config, Unusable> {
    let servers = hits::servers(env);
    let connections = env.or(&postgres::DATABASE_CONNECTIONS, 4);
    let backlog = env.or(&MAX_BACKLOG, BACKLOG);
    let pace = hits::pace(env);
    Ok(Config {
        servers: servers?,
        connections: connections?,
        backlog: backlog?,
        pace: pace?,
    })
}

/// Starts the service. It is ready when Redis is: taking increments is its
/// duty, and goes on while PostgreSQL is away.
///
/// # Errors
/// When the pool refuses its settings.
pub async fn start(config: Config, kit: &mut Kit) -> Result<OpenApiRouter, StartError> {
    let metrics = kit.register_metrics(Metrics::register);
    let Some(servers) = config.servers else {
        let (stream, sums) = hits::embedded(kit, config.pace);
        return Ok(app(State {
            stream: Arc::new(stream),
            sums: Arc::new(sums),
            metrics,
        }));
    };
    kit.keeps(Store::external("increments", servers.redis.describe()));
    kit.keeps(Store::external("sums", "PostgreSQL"));
    let redis = Redis::new(servers.redis);
    let postgres = Postgres::new(servers.database, kit.about().name, config.connections)?;
    let stream = Arc::new(RedisProducer::new(&redis, kit.lifecycle(), config.backlog));
    kit.ready_when("redis", move || redis.clone().ready());
    Ok(app(State {
        stream,
        sums: Arc::new(PostgresSums::new(postgres)),
        metrics,
    }))
}

/// The routes of the service.
pub fn app(state: State) -> OpenApiRouter {
    use crate::routes::increment;
    OpenApiRouter::new()
        .routes(routes!(increment::write))
        .routes(routes!(increment::read))
        .with_state(state)
}
