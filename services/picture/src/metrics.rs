//! What became of pictures, for `/metrics`.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, UNIX_EPOCH};

use service_kit::prometheus_client::metrics::counter::Counter;
use service_kit::prometheus_client::metrics::gauge::Gauge;
use service_kit::prometheus_client::registry::Registry;

use crate::picture::Picture;

type Seconds = Gauge<f64, AtomicU64>;

/// The service's own metrics.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) refreshed: Counter,
    pub(crate) failed: Counter,
    pub(crate) unkept: Counter,
    pub(crate) graces: Counter,
    pub(crate) stale: Counter,
    fetched: Seconds,
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry, ttl: Duration) {
        for (name, help, counter) in [
            (
                "picture_refreshes",
                "Pictures that replaced the one before",
                &self.refreshed,
            ),
            (
                "picture_refresh_failures",
                "Attempts at a new picture that failed",
                &self.failed,
            ),
            (
                "picture_keep_failures",
                "Pictures that could not be kept in the folder",
                &self.unkept,
            ),
            (
                "picture_graces",
                "Old pictures served while the next was on its way",
                &self.graces,
            ),
            (
                "picture_stale",
                "Old pictures served because no newer one could be had",
                &self.stale,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "picture_fetched_timestamp_seconds",
            "When the picture was fetched, in seconds since 1970; 0 while there is none",
            self.fetched.clone(),
        );
        let kept_for = Seconds::default();
        kept_for.set(ttl.as_secs_f64());
        registry.register(
            "picture_ttl_seconds",
            "How long a picture is kept",
            kept_for,
        );
    }

    pub(crate) fn shown(&self, picture: &Picture) {
        let since_1970 = picture.made.duration_since(UNIX_EPOCH);
        self.fetched
            .set(since_1970.unwrap_or_default().as_secs_f64());
    }
}
