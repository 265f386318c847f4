//! What became of uploads, for `/metrics`.

use service_kit::prometheus_client::metrics::counter::Counter;
use service_kit::prometheus_client::registry::Registry;

/// The service's own metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) accepted: Counter,
    pub(crate) busy: Counter,
    pub(crate) done: Counter,
    pub(crate) failed: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "upload_accepted",
            "Uploads that a worker took",
            metrics.accepted.clone(),
        );
        registry.register(
            "upload_busy",
            "Uploads turned away because no worker was free",
            metrics.busy.clone(),
        );
        registry.register("upload_done", "Jobs that were done", metrics.done.clone());
        registry.register("upload_failed", "Jobs that failed", metrics.failed.clone());
        metrics
    }
}
