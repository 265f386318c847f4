//! The one picture that is shown, and its replacement when its time is up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use backon::{ExponentialBuilder, Retryable};
use service_kit::chain;
use service_kit::prometheus_client::metrics::counter::Counter;
use service_kit::prometheus_client::registry::Registry;
use tokio::time::sleep;

use crate::cache::Cache;
use crate::picture::Picture;
use crate::source::Source;

/// Between attempts to replace a picture: gentle on a backend that is down or
/// wants less, and soon enough when it is back.
const MIN_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(30);

/// Holds the picture. Only its own task fetches, so there is one fetch per
/// expiry however many ask.
#[derive(Debug)]
pub(crate) struct Album {
    ttl: Duration,
    shown: Mutex<Shown>,
    refreshed: Counter,
    failed: Counter,
}

#[derive(Debug, Default)]
struct Shown {
    picture: Option<Arc<Picture>>,
    failure: Option<String>,
}

impl Album {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            shown: Mutex::default(),
            refreshed: Counter::default(),
            failed: Counter::default(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "picture_refreshes",
            "Pictures that replaced the one before",
            self.refreshed.clone(),
        );
        registry.register(
            "picture_refresh_failures",
            "Attempts at a new picture that failed",
            self.failed.clone(),
        );
    }

    /// The picture with what is left of its time; nothing left means that it
    /// is stale, and shown because there is no newer one.
    pub(crate) fn current(&self) -> Option<(Arc<Picture>, Duration)> {
        let picture = self.shown().picture.clone()?;
        let remaining = picture.remaining(self.ttl, SystemTime::now());
        Some((picture, remaining))
    }

    /// Ready as soon as there is a picture, however old.
    pub(crate) fn ready(&self) -> Result<(), String> {
        let shown = self.shown();
        match (&shown.picture, &shown.failure) {
            (Some(_), _) => Ok(()),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Err("the first picture is on its way".to_owned()),
        }
    }

    /// Takes up the kept picture, then replaces it for ever.
    pub(crate) async fn keep_fresh(&self, source: &Source, cache: Option<&Cache>) {
        if let Some(cache) = cache
            && let Some(kept) = cache.load().await
        {
            tracing::info!(etag = kept.etag, "took up the kept picture");
            self.show(kept);
        }
        loop {
            if let Some((_, remaining)) = self.current() {
                sleep(remaining).await;
            }
            let picture = self.fetch(source).await;
            if let Some(cache) = cache
                && let Err(error) = cache.store(&picture).await
            {
                tracing::warn!(error = chain(&error), "the picture could not be kept");
            }
            tracing::info!(etag = picture.etag, "a new picture");
            self.refreshed.inc();
            self.show(picture);
        }
    }

    /// Tries until there is one.
    async fn fetch(&self, source: &Source) -> Picture {
        loop {
            let backoff = ExponentialBuilder::default()
                .with_min_delay(MIN_DELAY)
                .with_max_delay(MAX_DELAY)
                .without_max_times()
                .with_jitter();
            let attempt = || source.fetch();
            let fetched = attempt.retry(backoff).notify(|error, _| {
                let failure = chain(error);
                tracing::warn!(error = failure, "no new picture");
                self.failed.inc();
                self.shown().failure = Some(failure);
            });
            if let Ok(picture) = fetched.await {
                return picture;
            }
        }
    }

    fn show(&self, picture: Picture) {
        *self.shown() = Shown {
            picture: Some(Arc::new(picture)),
            failure: None,
        };
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
