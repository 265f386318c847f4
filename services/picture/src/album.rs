//! The one picture that is shown, and its replacement when its time is up.
//!
//! A task of its own fetches, so there is one fetch per expiry however many ask. While the fetch that an expiry began
//! is under way, one request gets the old picture and the others wait for the new one, up to a limit. Once a fetch has
//! failed or taken longer, the old picture is served as stale until there is a new one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use backon::{ExponentialBuilder, Retryable};
use service_kit::prometheus_client::registry::Registry;
use service_kit::{RequestId, chain};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument;

use crate::backend::{Backend, FetchError};
use crate::cache::Cache;
use crate::metrics::Metrics;
use crate::picture::Picture;

/// Between attempts to replace a picture: gentle on a backend that is down or
/// wants less, and soon enough when it is back.
const MIN_DELAY: Duration = Duration::from_millis(500);
/// Jitter adds up to as much again.
const MAX_DELAY: Duration = Duration::from_secs(15);
/// How often the task looks whether the picture's time is up. That goes by the
/// wall clock, which can be set or go on while the machine is suspended; a
/// sleep goes by another.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest wait that a backend may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Holds the picture.
#[derive(Debug)]
pub(crate) struct Album {
    ttl: Duration,
    /// How long a request waits for a picture that is being fetched.
    patience: Duration,
    shown: watch::Sender<Shown>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Shown {
    picture: Option<Arc<Picture>>,
    refresh: Refresh,
    /// Whether the old picture was served since its time was up.
    grace_is_taken: bool,
}

/// What is being done for the next picture.
#[derive(Debug, Default)]
enum Refresh {
    /// Nothing before the picture's time is up.
    #[default]
    Idle,
    /// The first fetch since then, and when it began.
    Running(Instant),
    /// Fetches fail; the last reason.
    Failing(String),
}

/// A picture, and what is to be said about it.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) picture: Arc<Picture>,
    pub(crate) freshness: Freshness,
}

/// How new a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// For how long it still is.
    Fresh(Duration),
    /// Its time is up, and the next is on its way: served like this once.
    Grace,
    /// Its time is up, and no newer one can be had.
    Stale,
}

/// What a request is told.
enum Decision {
    Serve(Served),
    /// The next picture may come until then.
    Wait(Instant),
    /// There is no picture yet.
    Nothing,
}

impl Album {
    pub(crate) fn new(ttl: Duration, patience: Duration) -> Self {
        Self {
            ttl,
            patience,
            shown: watch::Sender::default(),
            metrics: Metrics::default(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry, self.ttl);
    }

    /// The picture for one request; none where there is none in time.
    pub(crate) async fn get(&self) -> Option<Served> {
        let asked = Instant::now();
        let mut changes = self.shown.subscribe();
        loop {
            match self.decide(asked) {
                Decision::Serve(served) => return Some(served),
                Decision::Nothing => return None,
                // Also when the time is up: the decision is another one then.
                Decision::Wait(until) => drop(timeout_at(until, changes.changed()).await),
            }
        }
    }

    /// Ready as soon as there is a picture, however old.
    pub(crate) fn ready(&self) -> Result<(), String> {
        let shown = self.shown.borrow();
        match (&shown.picture, &shown.refresh) {
            (Some(_), _) => Ok(()),
            (None, Refresh::Failing(reason)) => Err(reason.clone()),
            (None, _) => Err("the first picture is on its way".to_owned()),
        }
    }

    /// Takes up the kept picture, then replaces it for ever.
    pub(crate) async fn keep_fresh(&self, backend: &Backend, cache: Option<&Cache>) {
        if let Some(cache) = cache
            && let Some(kept) = cache.load().await
        {
            tracing::info!(etag = kept.etag, "took up the kept picture");
            self.show(kept);
        }
        loop {
            while let Some(remaining) = self.remaining() {
                sleep(remaining.min(LOOK_EVERY)).await;
            }
            self.begin();
            let id = RequestId::random();
            let span = tracing::error_span!("refresh", request_id = id.as_str());
            let picture = self.fetch(backend, &id).instrument(span.clone()).await;
            span.in_scope(|| tracing::info!(etag = picture.etag, "a new picture"));
            self.replace(picture, cache).instrument(span).await;
        }
    }

    /// First kept, then shown: after a restart nobody sees another one than before.
    async fn replace(&self, picture: Picture, cache: Option<&Cache>) {
        self.metrics.refreshed.inc();
        if let Some(cache) = cache
            && let Err(error) = cache.store(&picture).await
        {
            tracing::warn!(error = chain(&error), "the picture could not be kept");
            self.metrics.unkept.inc();
        }
        self.show(picture);
    }

    /// Tries until there is one, under the same id.
    async fn fetch(&self, backend: &Backend, id: &RequestId) -> Picture {
        loop {
            let backoff = ExponentialBuilder::default()
                .with_min_delay(MIN_DELAY)
                .with_max_delay(MAX_DELAY)
                .without_max_times()
                .with_jitter();
            let attempt = || backend.fetch(id);
            let fetched = attempt
                .retry(backoff)
                .notify(|error, delay| {
                    let reason = chain(error);
                    let retry_ms = delay.as_millis() as u64;
                    tracing::warn!(error = reason, retry_ms, "no new picture");
                    self.metrics.failed.inc();
                    let failing = Refresh::Failing(reason);
                    self.shown.send_modify(|shown| shown.refresh = failing);
                })
                .adjust(|error, delay| delay.map(|delay| delay.max(asked_for(error))));
            if let Ok(picture) = fetched.await {
                return picture;
            }
        }
    }

    /// Atomic: of all requests at one moment, one takes the grace.
    fn decide(&self, asked: Instant) -> Decision {
        let mut decision = Decision::Nothing;
        self.shown.send_if_modified(|shown| {
            decision = shown.decide(asked, self.ttl, self.patience);
            // Nobody waits for what a request is told.
            false
        });
        if let Decision::Serve(served) = &decision {
            match served.freshness {
                Freshness::Fresh(_) => {}
                Freshness::Grace => drop(self.metrics.graces.inc()),
                Freshness::Stale => drop(self.metrics.stale.inc()),
            }
        }
        decision
    }

    /// How much of the picture's time is left, where there is some.
    fn remaining(&self) -> Option<Duration> {
        let shown = self.shown.borrow();
        let picture = shown.picture.as_ref()?;
        let remaining = picture.remaining(self.ttl, SystemTime::now());
        Some(remaining).filter(|remaining| !remaining.is_zero())
    }

    fn begin(&self) {
        let running = Refresh::Running(Instant::now());
        self.shown.send_modify(|shown| shown.refresh = running);
    }

    fn show(&self, picture: Picture) {
        self.metrics.shown(&picture);
        self.shown.send_replace(Shown {
            picture: Some(Arc::new(picture)),
            ..Shown::default()
        });
    }
}

impl Shown {
    /// For a request that came at `asked`.
    fn decide(&mut self, asked: Instant, ttl: Duration, patience: Duration) -> Decision {
        let since = match self.refresh {
            // Its time has just run out, and the task is about to notice.
            Refresh::Idle => Some(asked),
            Refresh::Running(since) => Some(since.min(asked)),
            Refresh::Failing(_) => None,
        };
        let until = since
            .map(|since| since + patience)
            .filter(|until| *until > Instant::now());
        let Some(picture) = self.picture.clone() else {
            return until.map_or(Decision::Nothing, Decision::Wait);
        };
        let remaining = picture.remaining(ttl, SystemTime::now());
        let freshness = match until {
            _ if !remaining.is_zero() => Freshness::Fresh(remaining),
            None => Freshness::Stale,
            Some(_) if !self.grace_is_taken => {
                self.grace_is_taken = true;
                Freshness::Grace
            }
            Some(until) => return Decision::Wait(until),
        };
        Decision::Serve(Served { picture, freshness })
    }
}

/// The wait that a backend asked for.
fn asked_for(error: &FetchError) -> Duration {
    match error {
        FetchError::Limited { retry_after, .. } => (*retry_after).min(MAX_RETRY_AFTER),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
