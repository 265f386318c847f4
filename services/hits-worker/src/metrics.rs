//! What the worker has done, for `/metrics`.

use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use service_kit::prometheus_client::metrics::counter::Counter;
use service_kit::prometheus_client::metrics::gauge::Gauge;
use service_kit::prometheus_client::registry::Registry;

use crate::message::Hit;

/// The worker's own metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) applied: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) dead_letters: Counter,
    pub(crate) failures: Counter,
    age: Gauge<f64, AtomicU64>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "hits_applied",
            "Increments added to a sum",
            metrics.applied.clone(),
        );
        registry.register(
            "hits_duplicates",
            "Increments delivered again and not added",
            metrics.duplicates.clone(),
        );
        registry.register(
            "hits_dead_letters",
            "Messages that can never be applied",
            metrics.dead_letters.clone(),
        );
        registry.register(
            "hits_failures",
            "Attempts that failed and are repeated",
            metrics.failures.clone(),
        );
        registry.register(
            "hits_age_seconds",
            "Age of the oldest increment of the last write when it was committed",
            metrics.age.clone(),
        );
        metrics
    }

    pub(crate) fn committed(&self, hits: &[Hit], duplicates: usize) {
        self.duplicates.inc_by(duplicates as u64);
        self.applied.inc_by((hits.len() - duplicates) as u64);
        let oldest = hits.iter().filter_map(Hit::added_at_ms).min();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        if let (Some(oldest), Ok(now)) = (oldest, now) {
            self.age
                .set((now.as_secs_f64() - oldest as f64 / 1000.0).max(0.0));
        }
    }
}
