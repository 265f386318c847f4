//! `POST /increment` puts an increment on a Redis stream, from which
//! `hits-worker` sums them up in PostgreSQL; `GET /increment/{key}` reads the sum.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod routes;
mod stream;
mod sums;

use service_kit::postgres::{self, Postgres};
use service_kit::redis::{Place, REDIS_URL, Redis};
use service_kit::{Kit, Reader, StartError, Unusable};
use tokio_postgres::config::Config as DatabaseConfig;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use crate::stream::Stream;
pub use crate::sums::Sums;

/// What the service reads from its environment, besides what every service reads.
#[derive(Debug)]
pub struct Config {
    /// `REDIS_URL`: where the stream is.
    pub redis: Place,
    /// `DATABASE_URL`: where the sums are.
    pub database: DatabaseConfig,
    /// `DATABASE_CONNECTIONS`, default 4: the size of the pool of one replica.
    pub connections: usize,
}

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct State {
    /// Where increments go.
    pub stream: Stream,
    /// Where their sums are.
    pub sums: Sums,
}

/// Reads the configuration.
///
/// # Errors
/// When a variable is missing or unusable.
pub fn configure(env: &mut Reader<'_>) -> Result<Config, Unusable> {
    let redis = env.required(&REDIS_URL);
    let database = env.required(&postgres::DATABASE_URL);
    let connections = env.or(&postgres::DATABASE_CONNECTIONS, 4);
    Ok(Config {
        redis: redis?,
        database: database?,
        connections: connections?,
    })
}

/// Starts the service. It is ready when Redis is: taking increments is its
/// duty, and goes on while PostgreSQL is away.
///
/// # Errors
/// When the pool refuses its settings.
pub async fn start(config: Config, kit: &mut Kit) -> Result<OpenApiRouter, StartError> {
    let redis = Redis::new(config.redis);
    let postgres = Postgres::new(config.database, kit.about().name, config.connections)?;
    let checked = redis.clone();
    kit.ready_when("redis", move || checked.clone().ready());
    Ok(app(State {
        stream: Stream::new(&redis),
        sums: Sums::new(postgres),
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
