//! What became of pictures, for `/metrics`.

use service_kit::prometheus_client::metrics::counter::Counter;
use service_kit::prometheus_client::registry::Registry;

/// The service's own metrics.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) refreshed: Counter,
    pub(crate) failed: Counter,
    pub(crate) unkept: Counter,
    pub(crate) graces: Counter,
    pub(crate) stale: Counter,
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
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
    }
}
