//! Reads the stream, as far as there is room, and watches it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::BackoffBuilder;
use service_kit::chain;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::backoff;
use crate::metrics::Metrics;
use crate::stream::{Consumer, Message, StreamError};

/// How many messages one read asks for.
const PAGE: usize = 1000;
/// How often the stream is surveyed. A worker that died is noticed after two to three times as long.
const SURVEY_EVERY: Duration = Duration::from_millis(150);
/// How often a stream that is away is tried again, at least.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Reader {
    pub(super) stream: Arc<dyn Consumer>,
    /// Gets told before when everything that was put on the stream is off it again.
    pub(super) settled: watch::Sender<Option<Instant>>,
    pub(super) metrics: Metrics,
    pub(super) stopping: CancellationToken,
}

impl Reader {
    /// Reads until the process is to end.
    pub(super) async fn run(self, messages: Sender<Message>) {
        let mut surveyed = None;
        let mut pauses = backoff(LONGEST_PAUSE).build();
        while !self.stopping.is_cancelled() && !messages.is_closed() {
            match self.step(&messages, &mut surveyed).await {
                Ok(()) => pauses = backoff(LONGEST_PAUSE).build(),
                Err(error) => {
                    self.metrics.not_surveyed();
                    self.metrics
                        .failed("the stream cannot be read", &chain(&error));
                    surveyed = None;
                    let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
                    // Sooner when the process is to end.
                    let _ = timeout(pause, self.stopping.cancelled()).await;
                }
            }
        }
    }

    async fn step(
        &self,
        messages: &Sender<Message>,
        surveyed: &mut Option<Instant>,
    ) -> Result<(), StreamError> {
        if surveyed.is_none_or(|at| at.elapsed() >= SURVEY_EVERY) {
            let now = Instant::now();
            *surveyed = Some(now);
            let survey = self.stream.survey(messages.capacity()).await?;
            self.metrics.surveyed(&survey, now);
            self.settled
                .send_replace(Some(survey.oldest.unwrap_or(now)));
            hand_over(messages, survey.taken_over);
        }
        if messages.capacity() == 0 {
            // The writer is behind. Until it takes some, all there is to do is to be seen to live.
            let _ = timeout(SURVEY_EVERY, messages.reserve()).await;
            return Ok(());
        }
        let room = messages.capacity().min(PAGE);
        let new = self.stream.read(room, SURVEY_EVERY).await?;
        hand_over(messages, new);
        Ok(())
    }
}

/// Nobody else sends, so there is room for what was asked for. A writer that has ended leaves all to other workers.
fn hand_over(messages: &Sender<Message>, taken: Vec<Message>) {
    for message in taken {
        let _ = messages.try_send(message);
    }
}
