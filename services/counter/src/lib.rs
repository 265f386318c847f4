//! Named counters: `POST /counters/{name}` counts, `GET` reads, `DELETE` forgets.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod name;
mod routes;
mod store;

use redis::Client;
use service_kit::redis::{self as kit_redis, Redis};
use service_kit::{Kit, Reader, StartError, Unusable};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use crate::name::{CounterName, NameError};
pub use crate::store::Store;

/// What the service reads from its environment, besides what every service reads.
#[derive(Debug)]
pub struct Config {
    /// `REDIS_URL`: where Redis is.
    pub redis: Client,
}

/// Reads the configuration.
///
/// # Errors
/// When a variable is missing or unusable.
pub fn configure(env: &mut Reader<'_>) -> Result<Config, Unusable> {
    Ok(Config {
        redis: env.required(&kit_redis::REDIS_URL)?,
    })
}

/// Starts the service. It connects when it is first asked something.
///
/// # Errors
/// None today; the shape is that of every service.
pub async fn start(config: Config, kit: &mut Kit) -> Result<OpenApiRouter, StartError> {
    let redis = Redis::new(config.redis);
    let checked = redis.clone();
    kit.ready_when("redis", move || checked.clone().ready());
    Ok(app(Store::new(redis)))
}

/// The routes of the service.
pub fn app(store: Store) -> OpenApiRouter {
    use crate::routes::counters;
    OpenApiRouter::new()
        .routes(routes!(counters::list))
        .routes(routes!(
            counters::read,
            counters::increment,
            counters::delete
        ))
        .with_state(store)
}
