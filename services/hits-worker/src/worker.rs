//! The loop: gather, write, settle.

use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use service_kit::chain;
use service_kit::redis::CommandError;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::message::Hit;
use crate::metrics::Metrics;
use crate::stream::{LONGEST_WAIT, Stream, group_is_gone};
use crate::sums::{Sums, SumsError};

/// How many messages one read asks for.
const PAGE: usize = 1000;
/// How often to look for messages that others left behind.
const CLAIM_EVERY: Duration = Duration::from_secs(1);
/// How much longer than a batch is gathered a message may be in other hands
/// before it is taken over. Too early does no harm, it only costs a write.
const CLAIM_MARGIN: Duration = Duration::from_secs(3);
/// After Redis failed.
const PAUSE: Duration = Duration::from_millis(500);
/// For the last write of a process that is asked to end.
const LAST_WRITE_LIMIT: Duration = Duration::from_secs(4);
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) stream: Stream,
    pub(crate) sums: Sums,
    pub(crate) metrics: Metrics,
    /// How long messages are gathered before they are written.
    pub(crate) flush: Duration,
    /// How many are gathered at most.
    pub(crate) batch: usize,
    pub(crate) stopping: CancellationToken,
}

/// The process ends and the write did not succeed: someone else will do it.
#[derive(Debug)]
struct Abandoned;

impl Worker {
    /// Works until the process is to end; then writes what it has in hand.
    pub(crate) async fn run(mut self) {
        let mut group_exists = false;
        let mut forgotten = Instant::now();
        while !self.stopping.is_cancelled() {
            let gathered = self.gather(&mut group_exists).await;
            if self.write(gathered.batch).await.is_err() {
                break;
            }
            if let Some(error) = gathered.failure {
                group_exists &= !group_is_gone(&error);
                self.failed("the stream cannot be read", &chain(&error));
                sleep(PAUSE).await;
            }
            if forgotten.elapsed() > FORGET_EVERY {
                forgotten = Instant::now();
                self.forget().await;
            }
        }
        if let Err(error) = self.stream.leave().await {
            self.failed("the consumer group cannot be left", &chain(&error));
        }
    }

    /// Gathers until the batch is full or its first message has waited long
    /// enough. A failure ends it early, with what it has.
    async fn gather(&mut self, group_exists: &mut bool) -> Gathered {
        let mut gathered = Gathered::default();
        if !*group_exists {
            if let Err(error) = self.stream.create_group().await {
                gathered.failure = Some(error);
                return gathered;
            }
            *group_exists = true;
        }
        let mut deadline = None;
        let mut claimed: Option<Instant> = None;
        while gathered.batch.len() < self.batch && !self.stopping.is_cancelled() {
            let wait = match deadline {
                None => LONGEST_WAIT,
                Some(deadline) => match Instant::now() {
                    now if now >= deadline => break,
                    now => deadline - now,
                },
            };
            let room = (self.batch - gathered.batch.len()).min(PAGE);
            let look_back = claimed.is_none_or(|at| at.elapsed() > CLAIM_EVERY);
            let messages = if look_back {
                claimed = Some(Instant::now());
                self.stream.claim(room, self.flush + CLAIM_MARGIN).await
            } else {
                self.stream.read(room, wait).await
            };
            match messages {
                Ok(messages) => gathered.batch.add(messages),
                Err(error) => {
                    gathered.failure = Some(error);
                    break;
                }
            }
            if deadline.is_none() && !gathered.batch.is_empty() {
                deadline = Some(Instant::now() + self.flush);
            }
        }
        gathered
    }

    /// Applies a batch, for as long as it takes PostgreSQL to come back, then
    /// takes it off the stream.
    async fn write(&self, batch: Batch) -> Result<(), Abandoned> {
        let mut rejects = batch.rejects;
        let mut parts = vec![batch.hits];
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.apply(&part).await? {
                Ok(duplicates) => {
                    self.metrics.committed(&part, duplicates);
                    self.settle(&part).await;
                }
                // One of them is to blame: halving finds it in few steps.
                Err(_) if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([part, rest]);
                }
                Err(error) => {
                    let reason = chain(&error);
                    rejects.extend(part.drain(..).map(|hit| hit.reject(reason.clone())));
                }
            }
        }
        for reject in &rejects {
            tracing::warn!(id = reject.id, reason = reject.reason, "dead letter");
            match self.stream.reject(reject).await {
                Ok(()) => {
                    self.metrics.dead_letters.inc();
                }
                // Still pending, so it comes again.
                Err(error) => self.failed("a dead letter was not written", &chain(&error)),
            }
        }
        Ok(())
    }

    /// Repeats until PostgreSQL has taken the increments or refused their data.
    async fn apply(&self, hits: &[Hit]) -> Result<Result<usize, SumsError>, Abandoned> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(2))
            .without_max_times()
            .with_jitter();
        let attempt = || self.sums.apply(hits);
        let applied = attempt
            .retry(backoff)
            .when(|error| !error.is_about_the_data())
            .notify(|error, _| self.failed("the sums were not written", &chain(error)));
        tokio::select! {
            applied = applied => return Ok(applied),
            () = self.stopping.cancelled() => {}
        }
        // Cut off midway it may have been committed; repeating it is harmless.
        match timeout(LAST_WRITE_LIMIT, self.sums.apply(hits)).await {
            Ok(Ok(duplicates)) => Ok(Ok(duplicates)),
            Ok(Err(error)) if error.is_about_the_data() => Ok(Err(error)),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(messages = hits.len(), "left for another worker");
                Err(Abandoned)
            }
        }
    }

    /// A failure does not matter: the messages come again, are known by their
    /// events, and are settled then.
    async fn settle(&self, hits: &[Hit]) {
        for page in hits.chunks(PAGE) {
            let ids: Vec<&str> = page.iter().map(|hit| hit.id.as_str()).collect();
            if let Err(error) = self.stream.settle(&ids).await {
                self.failed("messages were not acknowledged", &chain(&error));
            }
        }
    }

    async fn forget(&self) {
        match self.sums.forget_old_events().await {
            Ok(0) => {}
            Ok(events) => tracing::info!(events, "forgot old events"),
            Err(error) => self.failed("old events were not forgotten", &chain(&error)),
        }
    }

    fn failed(&self, what: &str, error: &str) {
        self.metrics.failures.inc();
        tracing::warn!(error, "{what}");
    }
}

/// Messages, and what kept more from coming.
#[derive(Debug, Default)]
struct Gathered {
    batch: Batch,
    failure: Option<CommandError>,
}
