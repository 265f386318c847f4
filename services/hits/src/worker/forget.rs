//! Forgets events that nothing can repeat any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::chain;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::metrics::Metrics;
use crate::sums::{Ages, Sums};

const EVERY: Duration = Duration::from_secs(60);
/// Forgets for ever. `settled`: everything that was put on the stream before that moment is off it again; none while
/// the stream was not seen.
pub(super) async fn forget(
    sums: Arc<dyn Sums>,
    remembered: Duration,
    mut settled: watch::Receiver<Option<Instant>>,
    metrics: Metrics,
) {
    loop {
        sleep(EVERY).await;
        let Ok(Some(known)) = settled.wait_for(Option::is_some).await.map(|known| *known) else {
            return;
        };
        let ages = Ages::beyond(known.elapsed(), remembered);
        loop {
            match sums.forget(ages).await {
                Ok(0) => break,
                Ok(events) => tracing::info!(events, "forgot old events"),
                Err(error) => {
                    metrics.failed("old events were not forgotten", &chain(&error));
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::{self, BoxFuture, FutureExt};
    use uuid::Uuid;

    use super::*;
    use crate::increment::Increment;
    use crate::sums::SumsError;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    /// Sums that only note how old an event has to be.
    #[derive(Debug, Default)]
    struct Noting(Mutex<Vec<Ages>>);

    impl Sums for Noting {
        fn apply<'a>(&'a self, _: &'a [Increment]) -> BoxFuture<'a, Result<usize, SumsError>> {
            future::ready(Ok(0)).boxed()
        }

        fn get(&self, _: Uuid) -> BoxFuture<'_, Result<Option<u128>, SumsError>> {
            future::ready(Ok(None)).boxed()
        }

        fn forget(&self, ages: Ages) -> BoxFuture<'_, Result<u64, SumsError>> {
            self.0.lock().unwrap().push(ages);
            future::ready(Ok(0)).boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_forgotten_whose_message_may_be_on_the_stream() {
        let (sums, week) = (Arc::new(Noting::default()), HOUR * 24 * 7);
        let (settled, known) = watch::channel(None);
        tokio::spawn(forget(sums.clone(), week, known, Metrics::default()));
        sleep(EVERY * 10).await;
        assert!(sums.0.lock().unwrap().is_empty(), "the stream was not seen");
        for age in [HOUR * 24 * 8, Duration::ZERO] {
            settled.send_replace(Some(Instant::now() - age));
            sleep(EVERY).await;
            let last = sums.0.lock().unwrap().pop().unwrap();
            // The clock of the stream is not the one that stands still.
            let near = |found: Duration, wanted| found >= wanted && found < wanted + EVERY;
            assert!(near(last.other, age + HOUR), "{last:?}");
            assert!(near(last.keyed, age + week), "{last:?}");
        }
    }
}
