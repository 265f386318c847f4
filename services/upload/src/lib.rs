//! `POST /upload` takes an image; a worker stores it and its smaller variants.
//! `GET /jobs/{id}` says how far it is, `GET /images/{id}/{variant}` gives the
//! results.
#![cfg_attr(test, allow(clippy::unwrap_used))]

/// No test needs as much; what a stranger's bytes make a decoder ask for beyond it ends the tests with an error.
#[cfg(test)]
#[global_allocator]
static HEAP: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, 256 << 20);

mod bodies;
mod inspect;
mod job;
mod leftovers;
mod metrics;
mod routes;
mod s3;
mod store;
mod variant;
mod webp;
mod workers;

use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use service_kit::config::parsed;
use service_kit::{Kit, RateLimit, Reader, StartError, Store as Kept, Unusable, Variable};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::bodies::Bodies;
use crate::inspect::Limits;
pub use crate::job::Job;
use crate::metrics::Metrics;
pub use crate::s3::S3Settings;
use crate::store::Store;
pub use crate::store::StoreUrl;
use crate::workers::Workers;

/// Shown once it is known to be usable: before that, somebody may have put keys into it.
const STORE_URL: Variable<StoreUrl> = Variable::secret(
    "STORE_URL",
    "a URL such as file:///data or s3://bucket/folder, without user, password, port, query and fragment",
    parsed,
);
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
const UPLOADS_PER_SECOND: Variable<NonZero<u32>> =
    Variable::new("UPLOADS_PER_SECOND", "a number from 1 to 100000", |text| {
        parsed(text).filter(|number: &NonZero<u32>| number.get() <= 100_000)
    });

/// What a multipart body has around its file.
const MULTIPART_MARGIN: usize = 64 * 1024;

/// What the service reads from its environment, besides what every service reads.
#[derive(Clone, Debug)]
pub struct Config {
    /// `STORE_URL`: where images and jobs are stored, a folder or S3; without it, which is refused in Kubernetes, in
    /// memory.
    pub store: Option<StoreUrl>,
    /// `AWS_…`: endpoint, region and keys of S3, where that is the store.
    pub s3: S3Settings,
    /// `N_WORKERS`, default the number of CPUs: how many images are worked on
    /// at once.
    pub workers: usize,
    /// `MAX_BYTES`, default 10 MiB: how large a file may be.
    pub max_bytes: usize,
    /// `MAX_PIXELS`, default 16 million: how many pixels an image may have.
    pub max_pixels: u64,
    /// `UPLOADS_PER_SECOND`, default 20: how often one client may upload, on average.
    pub per_second: NonZero<u32>,
}

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) workers: Workers,
    pub(crate) limits: Limits,
    pub(crate) bodies: Bodies,
    /// How long a body may take, however steadily it comes.
    pub(crate) body_limit: Duration,
    pub(crate) rate: RateLimit,
    pub(crate) metrics: Metrics,
}

/// Reads the configuration.
///
/// # Errors
/// When a variable is missing or unusable.
pub fn configure(env: &mut Reader<'_>) -> Result<Config, Unusable> {
    let cpus = available_parallelism().map_or(1, NonZero::get);
    let store = env.store(&STORE_URL);
    // Unusable as it is, it may have been meant to be S3: all faults are said at once.
    let s3 = match &store {
        Ok(store) if !store.as_ref().is_some_and(StoreUrl::is_s3) => Ok(S3Settings::default()),
        _ => S3Settings::read(env),
    };
    let workers = env.or(&N_WORKERS, cpus);
    let max_bytes = env.or(&MAX_BYTES, 10 << 20);
    let max_pixels = env.or(&MAX_PIXELS, 16_000_000);
    let twenty = NonZero::new(20).expect("it is not zero");
    let per_second = env.or(&UPLOADS_PER_SECOND, twenty);
    Ok(Config {
        store: store?,
        s3: s3?,
        workers: workers?,
        max_bytes: max_bytes?,
        max_pixels: max_pixels?,
        per_second: per_second?,
    })
}

/// Starts the service.
///
/// # Errors
/// When the folder cannot be made, or what is set for S3 cannot be used.
pub async fn start(config: Config, kit: &mut Kit) -> Result<OpenApiRouter, StartError> {
    let store = match &config.store {
        Some(url) => {
            kit.keeps(Kept::external("images", url.to_string()));
            Store::open(url, &config.s3)?
        }
        None => {
            kit.keeps(Kept::embedded("images", "memory"));
            Store::in_memory()
        }
    };
    let metrics = kit.register_metrics(|registry| Metrics::register(registry, config.workers));
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
        bodies: Bodies::default(),
        // The rest is for storing it, so that who is too slow for both learns that nothing was taken.
        body_limit: kit.settings().request_limit.mul_f64(0.8),
        rate: RateLimit::new(config.per_second, kit.lifecycle()),
        metrics,
    }))
}

fn app(state: State) -> OpenApiRouter {
    use crate::routes::{images, jobs, upload};
    let body = DefaultBodyLimit::max(state.limits.bytes + MULTIPART_MARGIN);
    OpenApiRouter::new()
        .routes(routes!(upload::take))
        .layer(body)
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::read))
        .routes(routes!(images::read))
        .with_state(state)
}
