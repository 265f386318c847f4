//! `GET /` is a page with build information, a greeting and a picture; `GET
//! /picture` is the picture. It comes from a backend, is kept for a time to
//! live, in memory and in a folder, and is replaced in the background. While
//! that fails the old one is served.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod album;
mod backend;
mod cache;
mod metrics;
mod picture;
mod routes;
mod whole;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use service_kit::config::{parsed, seconds, text};
use service_kit::{About, Kit, Reader, StartError, Store, Unusable, Variable};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::album::Album;
use crate::backend::{Backend, Limits};
pub use crate::backend::{BackendUrl, NotABackend, retry_after};
use crate::cache::Cache;
pub use crate::cache::kept;
pub use crate::picture::{Kind, Picture};
pub use crate::routes::picture::names as if_none_match;

/// Another picture each time.
const LOREM_PICSUM: &str = "https://picsum.photos/800/600";
/// For reading or replacing the kept picture; a new one is shown after that.
const VOLUME_LIMIT: Duration = Duration::from_secs(5);
const BACKEND_URL: Variable<BackendUrl> = Variable::secret(
    "BACKEND_URL",
    "a URL that starts with http:// or https://",
    parsed,
);
const CACHE_DIR: Variable<PathBuf> = Variable::new("CACHE_DIR", "a folder", parsed);
const TTL_SECONDS: Variable<Duration> =
    Variable::new("TTL_SECONDS", "seconds from 0.1 to 3600", |text| {
        seconds(text).filter(|ttl| *ttl >= Duration::from_millis(100))
    });
const WAIT_SECONDS: Variable<Duration> =
    Variable::new("WAIT_SECONDS", "seconds from 0 to 3600", seconds);
const GREETING: Variable<String> = Variable::new("GREETING", "a text", text);

/// What the service reads from its environment, besides what every service reads.
#[derive(Clone, Debug)]
pub struct Config {
    /// `BACKEND_URL`, default Lorem Picsum: where pictures come from. Treated
    /// as a secret, since it may hold an access token.
    pub backend: BackendUrl,
    /// `CACHE_DIR`: where the picture survives a restart; without it, which is
    /// refused in Kubernetes, it does not.
    pub cache: Option<PathBuf>,
    /// `TTL_SECONDS`, default 600: how long a picture is kept.
    pub ttl: Duration,
    /// `WAIT_SECONDS`, default 2: how long after the start of a fetch requests
    /// wait for its picture before they get the old one; at most nine tenths of
    /// `REQUEST_SECONDS`.
    pub patience: Duration,
    /// `GREETING`, default `Hello`.
    pub greeting: String,
}

/// What the handlers share.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) album: Arc<Album>,
    pub(crate) about: About,
    pub(crate) greeting: Arc<str>,
}

/// Reads the configuration.
///
/// # Errors
/// When a variable is missing or unusable.
pub fn configure(env: &mut Reader<'_>) -> Result<Config, Unusable> {
    let lorem_picsum = LOREM_PICSUM.parse().expect("it is a URL");
    let backend = env.or(&BACKEND_URL, lorem_picsum);
    let cache = env.store(&CACHE_DIR);
    let ttl = env.or(&TTL_SECONDS, Duration::from_secs(600));
    let patience = env.or(&WAIT_SECONDS, Duration::from_secs(2));
    let greeting = env.or(&GREETING, "Hello".to_owned());
    Ok(Config {
        backend: backend?,
        cache: cache?,
        ttl: ttl?,
        patience: patience?,
        greeting: greeting?,
    })
}

/// Starts the service: the kept picture is taken up if it is still good, and a
/// task in the background replaces it from then on.
///
/// # Errors
/// When the HTTP client cannot be built, or the folder cannot be used.
pub async fn start(config: Config, kit: &mut Kit) -> Result<OpenApiRouter, StartError> {
    let backend = Backend::new(config.backend, Limits::default())?;
    kit.keeps(match &config.cache {
        Some(folder) => Store::external("picture", format!("the folder {}", folder.display())),
        None => Store::embedded("picture", "memory"),
    });
    let cache = match config.cache {
        Some(folder) => Some(Cache::open(folder, backend.key(), VOLUME_LIMIT).await?),
        None => None,
    };
    // The old picture, and not an error, for who has waited for too long.
    let patience = config.patience.min(kit.settings().request_limit * 9 / 10);
    let album = Arc::new(Album::new(config.ttl, patience));
    kit.register_metrics(|registry| album.register(registry));
    let checked = Arc::clone(&album);
    kit.ready_when("picture", move || std::future::ready(checked.ready()));

    let (kept, stopping) = (Arc::clone(&album), kit.lifecycle().stopping());
    kit.lifecycle().spawn_essential("album", async move {
        tokio::select! {
            () = kept.keep_fresh(&backend, cache.as_ref()) => {}
            () = stopping.cancelled() => {}
        }
    });
    Ok(app(State {
        album,
        about: kit.about().clone(),
        greeting: config.greeting.into(),
    }))
}

fn app(state: State) -> OpenApiRouter {
    use crate::routes::{page, picture};
    OpenApiRouter::new()
        .routes(routes!(page::show))
        .routes(routes!(picture::serve))
        .with_state(state)
}
