//! `POST /upload` takes an image; a worker stores it and its smaller variants.
//! `GET /jobs/{id}` says how far it is, `GET /images/{id}/{variant}` gives the
//! results.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod inspect;
mod job;
mod metrics;
mod routes;
mod store;
mod variant;
mod workers;

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use axum::extract::DefaultBodyLimit;
use service_kit::config::parsed;
use service_kit::{Kit, Reader, StartError, Unusable, Variable};
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::inspect::Limits;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::workers::Workers;

const DATA_DIR: Variable<PathBuf> = Variable::new("DATA_DIR", "a folder", parsed);
const N_WORKERS: Variable<usize> = Variable::new("N_WORKERS", "a number from 1 to 256", |text| {
    parsed(text).filter(|number| (1..=256).contains(number))
});
const MAX_BYTES: Variable<usize> = Variable::new(
    "MAX_BYTES",
    "a number of bytes from 1 to 268435456",
    |text| parsed(text).filter(|number| (1..=256 << 20).contains(number)),
);
const MAX_PIXELS: Variable<u64> = Variable::new(
    "MAX_PIXELS",
    "a number of pixels from 1 to 1000000000",
    |text| parsed(text).filter(|number| (1..=1_000_000_000).contains(number)),
);

/// How many bodies are held in memory at once; more are turned away.
const BODIES: usize = 16;
/// What a multipart body has around its file.
const MULTIPART_MARGIN: usize = 64 * 1024;

/// What the service reads from its environment, besides what every service reads.
#[derive(Clone, Debug)]
pub struct Config {
    /// `DATA_DIR`: where images and jobs are stored.
    pub data: PathBuf,
    /// `N_WORKERS`, default the number of CPUs: how many images are worked on
    /// at once.
    pub workers: usize,
    /// `MAX_BYTES`, default 10 MiB: how large a file may be.
    pub max_bytes: usize,
    /// `MAX_PIXELS`, default 16 million: how many pixels an image may have.
    pub max_pixels: u64,
}

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) workers: Workers,
    pub(crate) limits: Limits,
    pub(crate) bodies: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
}

/// Reads the configuration.
///
/// # Errors
/// When a variable is missing or unusable.
pub fn configure(env: &mut Reader<'_>) -> Result<Config, Unusable> {
    let cpus = available_parallelism().map_or(1, NonZero::get);
    let data = env.required(&DATA_DIR);
    let workers = env.or(&N_WORKERS, cpus);
    let max_bytes = env.or(&MAX_BYTES, 10 << 20);
    let max_pixels = env.or(&MAX_PIXELS, 16_000_000);
    Ok(Config {
        data: data?,
        workers: workers?,
        max_bytes: max_bytes?,
        max_pixels: max_pixels?,
    })
}

/// Starts the service.
///
/// # Errors
/// When the folder cannot be made.
pub async fn start(config: Config, kit: &mut Kit) -> Result<OpenApiRouter, StartError> {
    std::fs::create_dir_all(&config.data)?;
    let store = Store::local(&config.data)?;
    let metrics = kit.register_metrics(Metrics::register);
    let checked = store.clone();
    kit.ready_when("storage", move || checked.clone().ready());
    Ok(app(State {
        workers: Workers::new(
            config.workers,
            store.clone(),
            kit.lifecycle().clone(),
            metrics.clone(),
        ),
        store,
        limits: Limits {
            bytes: config.max_bytes,
            pixels: config.max_pixels,
        },
        bodies: Arc::new(Semaphore::new(BODIES)),
        metrics,
    }))
}

fn app(state: State) -> OpenApiRouter {
    use crate::routes::{images, jobs, upload};
    let body = DefaultBodyLimit::max(state.limits.bytes + MULTIPART_MARGIN);
    OpenApiRouter::new()
        .routes(routes!(upload::take))
        .layer(body)
        .routes(routes!(jobs::read))
        .routes(routes!(images::read))
        .with_state(state)
}
