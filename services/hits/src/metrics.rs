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

#[derive(Debug)]
struct Oldest {
    /// On the stream, for whichever worker; as far as is known.
    on_stream: Option<Instant>,
    /// When the stream was last seen.
    surveyed: Instant,
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

    pub(crate) fn surveyed(&self, survey: &Survey, at: Instant) {
        self.backlog.set(survey.messages as i64);
        let mut oldest = self.age.oldest();
        (oldest.on_stream, oldest.surveyed) = (survey.oldest, at);
    }

    /// The stream cannot be seen. What was on it may still be, and something may have come since.
    pub(crate) fn not_surveyed(&self) {
        let mut oldest = self.age.oldest();
        oldest.on_stream = Some(oldest.on_stream.unwrap_or(oldest.surveyed));
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

impl Default for Oldest {
    /// Nothing is known of what is there.
    fn default() -> Self {
        let now = Instant::now();
        Self {
            on_stream: Some(now),
            surveyed: now,
            in_hand: None,
        }
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
        let help = "Age of the oldest increment that may be in no sum yet, 0 where there is none";
        let gauge = encoder.encode_descriptor("hits_age_seconds", help, None, MetricType::Gauge)?;
        ConstGauge::new(self.seconds()).encode(gauge)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ago(seconds: u64) -> Instant {
        Instant::now() - Duration::from_secs(seconds)
    }

    fn survey(oldest: Option<Instant>) -> Survey {
        Survey {
            oldest,
            ..Survey::default()
        }
    }

    #[test]
    fn the_age_is_that_of_the_oldest_and_grows_by_itself() {
        let metrics = Metrics::default();
        metrics.surveyed(&survey(None), ago(0));
        assert_eq!(metrics.age.seconds(), 0.0);
        metrics.surveyed(&survey(Some(ago(5))), ago(0));
        metrics.in_hand(Some(ago(3)));
        assert!((5.0..6.0).contains(&metrics.age.seconds()));
        metrics.surveyed(&survey(None), ago(0));
        let before = metrics.age.seconds();
        assert!((3.0..4.0).contains(&before));
        std::thread::sleep(Duration::from_millis(10));
        assert!(metrics.age.seconds() > before);
    }

    #[test]
    fn what_cannot_be_seen_goes_on_ageing() {
        let metrics = Metrics::default();
        std::thread::sleep(Duration::from_millis(10));
        assert!(metrics.age.seconds() >= 0.01, "it has seen nothing yet");
        metrics.surveyed(&survey(Some(ago(5))), ago(0));
        metrics.not_surveyed();
        assert!((5.0..6.0).contains(&metrics.age.seconds()));
        // It was empty, which is all that is known.
        metrics.surveyed(&survey(None), ago(7));
        metrics.not_surveyed();
        assert!((7.0..8.0).contains(&metrics.age.seconds()));
        metrics.not_surveyed();
        metrics.surveyed(&survey(None), ago(0));
        assert_eq!(metrics.age.seconds(), 0.0);
    }
}
