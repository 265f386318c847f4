//! What the worker has done, and how far it is behind, for `/metrics`.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use service_kit::prometheus_client::collector::Collector;
use service_kit::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use service_kit::prometheus_client::metrics::MetricType;
use service_kit::prometheus_client::metrics::counter::Counter;
use service_kit::prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use service_kit::prometheus_client::registry::Registry;

use crate::stream::Survey;

/// The worker's own metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) applied: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) writes: Counter,
    pub(crate) dead_letters: Counter,
    pub(crate) failures: Counter,
    backlog: Gauge,
    age: Age,
}

/// Since when the oldest increment waits that is not in a sum. Reckoned when it is asked for, so it grows also while
/// nothing happens.
#[derive(Clone, Debug, Default)]
struct Age(Arc<Mutex<Oldest>>);

#[derive(Debug, Default)]
struct Oldest {
    /// On the stream, for whichever worker; as far as is known.
    on_stream: Option<Instant>,
    /// In the hands of this one.
    in_hand: Option<Instant>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let counters = [
            (
                "hits_applied",
                "Increments added to a sum",
                &metrics.applied,
            ),
            (
                "hits_duplicates",
                "Increments delivered again and not added",
                &metrics.duplicates,
            ),
            (
                "hits_writes",
                "Transactions that were committed",
                &metrics.writes,
            ),
            (
                "hits_dead_letters",
                "Messages that can never be applied",
                &metrics.dead_letters,
            ),
            (
                "hits_failures",
                "Attempts that failed and are repeated",
                &metrics.failures,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "hits_backlog",
            "Messages on the stream, delivered or not",
            metrics.backlog.clone(),
        );
        registry.register_collector(Box::new(metrics.age.clone()));
        metrics
    }

    pub(crate) fn surveyed(&self, survey: &Survey) {
        self.backlog.set(survey.messages as i64);
        self.age.oldest().on_stream = survey.oldest;
    }

    /// The stream cannot be seen; what is in hand goes on ageing.
    pub(crate) fn not_surveyed(&self) {
        self.age.oldest().on_stream = None;
    }

    pub(crate) fn in_hand(&self, oldest: Option<Instant>) {
        self.age.oldest().in_hand = oldest;
    }

    pub(crate) fn committed(&self, increments: usize, duplicates: usize) {
        self.writes.inc();
        self.duplicates.inc_by(duplicates as u64);
        self.applied.inc_by((increments - duplicates) as u64);
    }
}

impl Age {
    fn oldest(&self) -> MutexGuard<'_, Oldest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seconds(&self) -> f64 {
        let oldest = self.oldest();
        let since = [oldest.on_stream, oldest.in_hand]
            .into_iter()
            .flatten()
            .min();
        since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }
}

impl Collector for Age {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "Age of the oldest increment that is in no sum yet, 0 where there is none";
        let gauge = encoder.encode_descriptor("hits_age_seconds", help, None, MetricType::Gauge)?;
        ConstGauge::new(self.seconds()).encode(gauge)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_age_is_that_of_the_oldest_and_grows_by_itself() {
        let metrics = Metrics::default();
        assert_eq!(metrics.age.seconds(), 0.0);
        let ago = |seconds| Some(Instant::now() - Duration::from_secs(seconds));
        metrics.surveyed(&Survey {
            oldest: ago(5),
            ..Survey::default()
        });
        metrics.in_hand(ago(3));
        assert!((5.0..6.0).contains(&metrics.age.seconds()));
        metrics.not_surveyed();
        let before = metrics.age.seconds();
        assert!((3.0..4.0).contains(&before));
        std::thread::sleep(Duration::from_millis(10));
        assert!(metrics.age.seconds() > before);
    }
}
