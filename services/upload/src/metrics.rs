//! What became of uploads, for `/metrics`.

use service_kit::prometheus_client::metrics::counter::Counter;
use service_kit::prometheus_client::metrics::family::Family;
use service_kit::prometheus_client::metrics::gauge::Gauge;
use service_kit::prometheus_client::metrics::histogram::Histogram;
use service_kit::prometheus_client::registry::Registry;

/// The upper bounds, in seconds: from a thumbnail of a thumbnail to the largest
/// image on a busy machine.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The service's own metrics. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) accepted: Counter,
    refused: Family<RefusalLabels, Counter>,
    pub(crate) done: Counter,
    pub(crate) failed: Counter,
    pub(crate) busy_workers: Gauge,
    /// From the hand-off until the job has ended.
    pub(crate) seconds: Histogram,
}

/// The code of the problem that was answered.
type RefusalLabels = [(&'static str, &'static str); 1];

impl Metrics {
    pub(crate) fn register(registry: &mut Registry, workers: usize) -> Self {
        let metrics = Self {
            accepted: Counter::default(),
            refused: Family::default(),
            done: Counter::default(),
            failed: Counter::default(),
            busy_workers: Gauge::default(),
            seconds: Histogram::new(BUCKETS),
        };
        let Self {
            accepted,
            refused,
            done,
            failed,
            busy_workers,
            seconds,
        } = metrics.clone();
        registry.register("upload_accepted", "Uploads that a worker took", accepted);
        registry.register("upload_refused", "Uploads that were refused", refused);
        registry.register("upload_done", "Jobs that were done", done);
        registry.register("upload_failed", "Jobs that failed", failed);
        registry.register(
            "upload_workers_busy",
            "Workers that have a job",
            busy_workers,
        );
        let all: Gauge = Gauge::default();
        all.set(workers.try_into().unwrap_or(i64::MAX));
        registry.register("upload_workers", "Workers", all);
        registry.register(
            "upload_job_seconds",
            "Time from the hand-off of a job to its end",
            seconds,
        );
        metrics
    }

    pub(crate) fn refused(&self, code: &'static str) {
        self.refused.get_or_create(&[("code", code)]).inc();
    }
}
