//! How increments were answered, for `/metrics`.

use hits::stream::AppendError;
use service_kit::prometheus_client::metrics::counter::Counter;
use service_kit::prometheus_client::metrics::family::Family;
use service_kit::prometheus_client::registry::Registry;

/// The service's own metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    increments: Family<Outcome, Counter>,
}

/// Whether an increment will be counted.
type Outcome = [(&'static str, &'static str); 1];

impl Metrics {
    /// Metrics that `registry` shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        // They are there before anything happens: who reckons with rates misses the first of each otherwise.
        for outcome in ["accepted", "unknown", "refused"] {
            drop(metrics.increments.get_or_create(&[("outcome", outcome)]));
        }
        let help = "Increments that were asked for, by whether they will be counted";
        registry.register("hits_increments", help, metrics.increments.clone());
        metrics
    }

    pub(crate) fn ended(&self, end: &Result<(), AppendError>) {
        let outcome = match end {
            Ok(()) => "accepted",
            Err(AppendError::OutcomeUnknown(_)) => "unknown",
            Err(AppendError::Full(_) | AppendError::NotAppended(_)) => "refused",
        };
        let labels = [("outcome", outcome)];
        self.increments.get_or_create(&labels).inc();
    }
}
