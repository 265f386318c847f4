//! Gathers messages and writes them.

use std::sync::Arc;
use std::time::Duration;

use backon::Retryable;
use service_kit::chain;
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff;
use crate::batch::{Batch, Part};
use crate::config::Pace;
use crate::metrics::Metrics;
use crate::stream::{Consumer, DeadLetter, Message};
use crate::sums::{Sums, SumsError};

/// How often a database that is away is tried again, at least.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How many dead letters are written at once.
const PAGE: usize = 1000;
/// For one of the last writes of a process that is asked to end.
const LAST_WRITE_LIMIT: Duration = Duration::from_secs(3);

pub(super) struct Writer {
    pub(super) stream: Arc<dyn Consumer>,
    pub(super) sums: Arc<dyn Sums>,
    pub(super) metrics: Metrics,
    pub(super) pace: Pace,
    pub(super) stopping: CancellationToken,
}

/// The process ends and the write did not succeed: someone else will do it.
#[derive(Debug)]
struct Abandoned;

impl Writer {
    /// Works until no more messages come.
    pub(super) async fn run(self, mut messages: Receiver<Message>) {
        while let Some(batch) = self.gather(&mut messages).await {
            if self.write(batch).await.is_err() {
                break;
            }
            self.metrics.in_hand(None);
        }
    }

    /// Gathers until there are as many as may be written at once, or the oldest gets too old. What has come by then
    /// is taken along.
    async fn gather(&self, messages: &mut Receiver<Message>) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut page = Vec::new();
        while batch.len() < self.pace.batch {
            let due = batch.oldest().map(|oldest| oldest + self.pace.flush);
            let wait = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            let room = self.pace.batch - batch.len();
            tokio::select! {
                biased;
                got = messages.recv_many(&mut page, room) => match got {
                    0 => return (!batch.is_empty()).then_some(batch),
                    _ => page.drain(..).for_each(|message| batch.add(message)),
                },
                () = wait => break,
            }
            self.metrics.in_hand(batch.oldest());
        }
        Some(batch)
    }

    /// Applies a batch, for as long as it takes the sums to come back, then takes it off the stream.
    async fn write(&self, batch: Batch) -> Result<(), Abandoned> {
        let mut dead = batch.dead;
        let mut parts = vec![batch.part];
        while let Some(part) = parts.pop() {
            if part.len() == 0 {
                continue;
            }
            match self.apply(&part).await? {
                Ok(duplicates) => {
                    self.metrics.committed(part.len(), duplicates);
                    // A failure does not matter: the messages come again, are known by their events, and are settled
                    // then.
                    if let Err(error) = self.stream.settle(&part.deliveries).await {
                        self.metrics
                            .failed("messages were not settled", &chain(&error));
                    }
                }
                // One of them is to blame: halving finds it in few steps.
                Err(_) if part.len() > 1 => parts.extend(part.halve()),
                Err(error) => dead.extend(part.give_up(&chain(&error))),
            }
        }
        self.give_up(&dead).await;
        Ok(())
    }

    async fn give_up(&self, dead: &[DeadLetter]) {
        for page in dead.chunks(PAGE) {
            match self.stream.reject(page).await {
                Ok(moved) => self.metrics.dead_letters.inc_by(moved as u64),
                // They and the rest are still on the stream, so they come again.
                Err(error) => {
                    self.metrics
                        .failed("dead letters were not written", &chain(&error));
                    return;
                }
            };
            for letter in page {
                let (id, reason) = (&letter.delivery.id, &letter.reason);
                tracing::warn!(id, reason, request_id = letter.request_id, "dead letter");
            }
        }
    }

    /// Repeats until the sums have taken the increments or refused their data.
    async fn apply(&self, part: &Part) -> Result<Result<usize, SumsError>, Abandoned> {
        let attempt = || self.sums.apply(&part.increments);
        let applied = attempt
            .retry(backoff(LONGEST_PAUSE))
            .when(|error| matches!(error, SumsError::Away(_)))
            .notify(|error, _| {
                self.metrics
                    .failed("the sums were not written", &chain(error))
            });
        tokio::select! {
            applied = applied => return Ok(applied),
            () = self.stopping.cancelled() => {}
        }
        // Cut off midway it may have been committed; repeating it is harmless.
        match timeout(LAST_WRITE_LIMIT, self.sums.apply(&part.increments)).await {
            Ok(Err(SumsError::Away(_))) | Err(_) => {
                tracing::warn!(messages = part.len(), "left for another worker");
                Err(Abandoned)
            }
            Ok(applied) => Ok(applied),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use futures_util::future::{self, BoxFuture, FutureExt};
    use proptest::prelude::*;
    use tokio::sync::mpsc;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::*;
    use crate::increment::{Fields, Increment};
    use crate::stream::{Delivery, MemoryConsumer, MemoryStream, Producer, StreamError, Survey};
    use crate::sums::{Ages, MemorySums};

    /// Sums that refuse everything that one of some keys is in.
    #[derive(Debug, Default)]
    struct Picky {
        refused: BTreeSet<Uuid>,
        sums: MemorySums,
        /// How many increments each accepted write had.
        writes: Mutex<Vec<usize>>,
    }

    impl Sums for Picky {
        fn apply<'a>(
            &'a self,
            increments: &'a [Increment],
        ) -> BoxFuture<'a, Result<usize, SumsError>> {
            let mut keys = increments.iter().map(|increment| increment.key);
            if keys.any(|key| self.refused.contains(&key)) {
                return future::ready(Err(SumsError::Refused("picky".into()))).boxed();
            }
            self.writes.lock().unwrap().push(increments.len());
            self.sums.apply(increments)
        }

        fn get(&self, key: Uuid) -> BoxFuture<'_, Result<Option<u128>, SumsError>> {
            self.sums.get(key)
        }

        fn forget(&self, ages: Ages) -> BoxFuture<'_, Result<u64, SumsError>> {
            self.sums.forget(ages)
        }
    }

    /// A stream that takes no dead letters.
    #[derive(Debug)]
    struct Unwilling {
        stream: MemoryConsumer,
        /// How many were to be taken, each time.
        asked: Mutex<Vec<usize>>,
    }

    impl Consumer for Unwilling {
        fn read(
            &self,
            count: usize,
            wait: Duration,
        ) -> BoxFuture<'_, Result<Vec<Message>, StreamError>> {
            self.stream.read(count, wait)
        }

        fn survey(&self, count: usize) -> BoxFuture<'_, Result<Survey, StreamError>> {
            self.stream.survey(count)
        }

        fn settle<'a>(
            &'a self,
            deliveries: &'a [Delivery],
        ) -> BoxFuture<'a, Result<(), StreamError>> {
            self.stream.settle(deliveries)
        }

        fn reject<'a>(
            &'a self,
            letters: &'a [DeadLetter],
        ) -> BoxFuture<'a, Result<usize, StreamError>> {
            self.asked.lock().unwrap().push(letters.len());
            future::ready(Err(StreamError::new("unwilling"))).boxed()
        }

        fn leave(&self) -> BoxFuture<'_, Result<(), StreamError>> {
            self.stream.leave()
        }
    }

    fn increment(number: usize) -> Increment {
        Increment {
            event: Uuid::from_u128(number as u128),
            key: Uuid::from_u128(number as u128),
            value: 1,
            request_id: None,
        }
    }

    fn writer(stream: &MemoryStream, sums: &Arc<Picky>, pace: Pace) -> Writer {
        Writer {
            stream: Arc::new(stream.consumer("test")),
            sums: sums.clone(),
            metrics: Metrics::default(),
            pace,
            stopping: CancellationToken::new(),
        }
    }

    /// Puts increments on the stream, and everything that is on it into a channel that is closed.
    async fn deliver(
        stream: &MemoryStream,
        consumer: &dyn Consumer,
        number: usize,
    ) -> Receiver<Message> {
        for n in 0..number {
            stream.append(&increment(n)).await.unwrap();
        }
        let (sender, receiver) = mpsc::channel(number.max(1));
        for message in consumer.read(number, Duration::ZERO).await.unwrap() {
            sender.try_send(message).unwrap();
        }
        receiver
    }

    #[tokio::test]
    async fn no_write_has_more_than_a_batch() {
        let (stream, sums) = (MemoryStream::default(), Arc::new(Picky::default()));
        let pace = Pace {
            flush: Duration::from_secs(9),
            batch: 10,
        };
        let writer = writer(&stream, &sums, pace);
        let messages = deliver(&stream, &*writer.stream, 25).await;
        writer.run(messages).await;
        assert_eq!(*sums.writes.lock().unwrap(), [10, 10, 5]);
    }

    #[tokio::test]
    async fn a_stream_that_takes_no_dead_letters_is_asked_once() {
        let (stream, sums) = (MemoryStream::default(), Arc::new(Picky::default()));
        let unwilling = Arc::new(Unwilling {
            stream: stream.consumer("test"),
            asked: Mutex::default(),
        });
        let writer = Writer {
            stream: unwilling.clone(),
            ..writer(&stream, &sums, Pace::default())
        };
        let mut batch = Batch::default();
        for number in 0..2 * PAGE {
            batch.add(Message {
                delivery: Delivery {
                    consumer: "test".into(),
                    id: format!("0-{number}"),
                },
                added: Instant::now().into_std(),
                fields: Fields::new(),
            });
        }
        writer.write(batch).await.unwrap();
        assert_eq!(*unwilling.asked.lock().unwrap(), [PAGE]);
        assert_eq!(writer.metrics.dead_letters.get(), 0);
        assert_eq!(writer.metrics.failures.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_a_flush_is_written_at_once_and_the_rest_when_it_is() {
        let (stream, sums) = (MemoryStream::default(), Arc::new(Picky::default()));
        let pace = Pace {
            flush: Duration::from_secs(9),
            batch: 10,
        };
        let writer = writer(&stream, &sums, pace);
        let (sender, mut receiver) = mpsc::channel(10);
        for (age, waits) in [(20, 0), (5, 4), (0, 9)] {
            let message = Message {
                delivery: Delivery {
                    consumer: "test".into(),
                    id: format!("{age}-0"),
                },
                added: Instant::now().into_std() - Duration::from_secs(age),
                fields: increment(1).fields(),
            };
            sender.try_send(message).unwrap();
            let started = Instant::now();
            let batch = writer.gather(&mut receiver).await.unwrap();
            let waited = started.elapsed().as_secs_f64();
            assert_eq!(batch.len(), 1);
            assert!((waited - f64::from(waits)).abs() < 0.5, "{age}: {waited}");
        }
    }

    proptest! {
        #[test]
        fn halving_finds_exactly_the_bad_ones(number in 1..60_usize, bad in proptest::collection::btree_set(0..60_usize, 0..4)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let stream = MemoryStream::default();
                let bad: BTreeSet<usize> = bad.into_iter().filter(|n| *n < number).collect();
                let refused = bad.iter().map(|n| increment(*n).key).collect();
                let sums = Arc::new(Picky { refused, ..Picky::default() });
                let writer = writer(&stream, &sums, Pace::default());
                let messages = deliver(&stream, &*writer.stream, number).await;
                writer.run(messages).await;

                let dead: BTreeSet<String> = stream.dead_letters().into_iter().map(|letter| letter.content).collect();
                let expected = bad.iter().map(|n| serde_json::to_string(&increment(*n).fields()).unwrap());
                prop_assert_eq!(dead, expected.collect::<BTreeSet<_>>());
                for n in 0..number {
                    let sum = sums.get(increment(n).key).await.unwrap();
                    prop_assert_eq!(sum, (!bad.contains(&n)).then_some(1));
                }
                let left = stream.consumer("after").survey(1).await.unwrap();
                prop_assert_eq!(left.messages, 0);
                Ok(())
            })?;
        }
    }
}
