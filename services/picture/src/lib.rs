//! `GET /` is a page with build information, a greeting and a picture; `GET
//! /picture` is the picture. It comes from a backend, is kept for a time to
//! live, in memory and in a folder, and is replaced in the background. While
//! that fails the old one is served.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod album;
mod backend;
mod cache;
mod picture;
mod routes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use service_kit::config::{parsed, seconds, text};
use service_kit::{About, Kit, Reader, StartError, Store, Unusable, Variable};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::album::Album;
use crate::backend::Backend;
pub use crate::backend::retry_after;
use crate::cache::Cache;
pub use crate::cache::kept;
pub use crate::picture::{Kind, Picture};
pub use crate::routes::picture::names as if_none_match;

/// Another picture each time.
const LOREM_PICSUM: &str = "https://picsum.photos/800/600";
const BACKEND_URL: Variable<Url> = Variable::secret(
    "BACKEND_URL",
    "a URL that starts with http:// or https://",
    backend_url,
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
    pub backend: Url,
    /// `CACHE_DIR`: where the picture survives a restart; without it, which is
    /// refused in Kubernetes, it does not.
    pub cache: Option<PathBuf>,
    /// `TTL_SECONDS`, default 600: how long a picture is kept.
    pub ttl: Duration,
    /// `WAIT_SECONDS`, default 2: how long a request waits for the next picture
    /// before it gets the old one.
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
/// When the HTTP client cannot be built.
pub async fn start(config: Config, kit: &mut Kit) -> Result<OpenApiRouter, StartError> {
    let backend = Backend::new(config.backend)?;
    kit.keeps(match &config.cache {
        Some(folder) => Store::external("picture", format!("the folder {}", folder.display())),
        None => Store::embedded("picture", "memory"),
    });
    let cache = config.cache.map(|folder| Cache::new(folder, backend.key()));
    let album = Arc::new(Album::new(config.ttl, config.patience));
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

fn backend_url(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    (["http", "https"].contains(&url.scheme()) && url.has_host()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backend_urls() {
        for good in ["http://x", "https://picsum.photos/800/600"] {
            assert!(backend_url(good).is_some(), "{good}");
        }
        for bad in ["", "x", "ftp://x", "file:///etc/passwd", "http://"] {
            assert!(backend_url(bad).is_none(), "{bad}");
        }
    }
}
