//! Named counters: `POST /counters/{name}` counts, `GET` reads, `DELETE` forgets.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod metrics;
mod name;
mod routes;
mod store;

use std::sync::Arc;

use service_kit::redis::{Place, REDIS_URL, Redis};
use service_kit::{Kit, Reader, StartError, Store as Kept, Unusable};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::metrics::Metrics;
pub use crate::name::{CounterName, NameError};
use crate::routes::counters::{self, App};
pub use crate::store::{Counters, InRedis, Memory, Page, Store, StoreError};

/// What the service reads from its environment, besides what every service reads.
#[derive(Debug)]
pub struct Config {
    /// `REDIS_URL`: where Redis is; without it, which is refused in Kubernetes, counters are kept in memory.
    pub redis: Option<Place>,
}

/// Reads the configuration.
///
/// # Errors
/// When a variable is missing or unusable.
pub fn configure(env: &mut Reader<'_>) -> Result<Config, Unusable> {
    Ok(Config {
        redis: env.store(&REDIS_URL)?,
    })
}

/// Starts the service. It connects when it is first asked something.
///
/// # Errors
/// None today; the shape is that of every service.
pub async fn start(config: Config, kit: &mut Kit) -> Result<OpenApiRouter, StartError> {
    let store: Store = match config.redis {
        Some(place) => {
            kit.keeps(Kept::external("counters", place.describe()));
            let redis = Redis::new(place);
            let checked = redis.clone();
            kit.ready_when("redis", move || checked.clone().ready());
            Arc::new(InRedis::new(redis, kit.lifecycle()))
        }
        None => {
            kit.keeps(Kept::embedded("counters", "memory"));
            Arc::new(Memory::default())
        }
    };
    let metrics = kit.register_metrics(Metrics::register);
    Ok(app(App { store, metrics }))
}

fn app(app: App) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(counters::list))
        .routes(routes!(
            counters::read,
            counters::increment,
            counters::delete
        ))
        .with_state(app)
}
