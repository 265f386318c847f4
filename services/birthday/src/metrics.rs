//! What was stored and who was greeted, for `/metrics`.

use service_kit::prometheus_client::metrics::counter::Counter;
use service_kit::prometheus_client::registry::Registry;

/// The service's own metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) stored: Counter,
    pub(crate) greetings: Counter,
    pub(crate) birthdays: Counter,
}

impl Metrics {
    /// Metrics that `registry` shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for (name, help, counter) in [
            (
                "birthday_stored",
                "Dates of birth that were stored",
                &metrics.stored,
            ),
            (
                "birthday_greetings",
                "Users who were greeted",
                &metrics.greetings,
            ),
            (
                "birthday_birthdays",
                "Those of them whose birthday it was",
                &metrics.birthdays,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        metrics
    }
}
