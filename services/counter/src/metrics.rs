//! How increments end, for `/metrics`.

use service_kit::prometheus_client::metrics::counter::Counter;
use service_kit::prometheus_client::metrics::family::Family;
use service_kit::prometheus_client::registry::Registry;

use crate::store::StoreError;

/// The service's own metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    increments: Family<Outcome, Counter>,
}

/// Whether an increment was counted.
type Outcome = [(&'static str, &'static str); 1];

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        // They are there before anything happens: who reckons with rates misses the first of each otherwise.
        for outcome in ["counted", "unknown", "refused", "overflow"] {
            drop(metrics.increments.get_or_create(&[("outcome", outcome)]));
        }
        let help = "Increments that were asked for, by whether they were counted";
        registry.register("counter_increments", help, metrics.increments.clone());
        metrics
    }

    pub(crate) fn ended(&self, end: &Result<i64, StoreError>) {
        let outcome = match end {
            Ok(_) => "counted",
            Err(StoreError::OutcomeUnknown(_)) => "unknown",
            Err(StoreError::Unavailable(_)) => "refused",
            Err(StoreError::Overflow) => "overflow",
        };
        let labels = [("outcome", outcome)];
        self.increments.get_or_create(&labels).inc();
    }
}
