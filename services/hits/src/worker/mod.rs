//! The work between stream and sums: one task reads and watches the stream, one gathers and writes. They run at the
//! same time, so a database that is slow does not make this worker look dead, and a stream that is slow does not keep
//! from being written what is in hand.

mod forget;
mod reader;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::ExponentialBuilder;
use service_kit::{Kit, chain};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Pace;
use crate::metrics::Metrics;
use crate::stream::Consumer;
use crate::sums::Sums;

use forget::forget;
use reader::Reader;
use writer::Writer;

/// One worker.
#[derive(Debug)]
pub struct Worker {
    /// Where increments come from.
    pub stream: Arc<dyn Consumer>,
    /// Where they go to.
    pub sums: Arc<dyn Sums>,
    /// How much is gathered.
    pub pace: Pace,
    /// How long an `Idempotency-Key` is remembered after its increment was applied.
    pub remembered: Duration,
}

impl Worker {
    /// Starts it in the background. When the process is to end it writes what it has in hand.
    pub fn start(self, kit: &Kit) {
        let metrics = kit.register_metrics(Metrics::register);
        let stopping = kit.lifecycle().stopping();
        let (settled, known) = watch::channel(None);
        let forget = forget(self.sums.clone(), self.remembered, known, metrics.clone());
        let forgetting = stopping.clone();
        kit.lifecycle().spawn(async move {
            tokio::select! {
                () = forget => {}
                () = forgetting.cancelled() => {}
            }
        });
        kit.lifecycle()
            .spawn_essential("worker", self.run(settled, metrics, stopping));
    }

    async fn run(
        self,
        settled: watch::Sender<Option<Instant>>,
        metrics: Metrics,
        stopping: CancellationToken,
    ) {
        // As many may wait to be gathered as are gathered: that bounds what is in memory.
        let (sender, receiver) = mpsc::channel(self.pace.batch);
        let reader = Reader {
            stream: self.stream.clone(),
            settled,
            metrics: metrics.clone(),
            stopping: stopping.clone(),
        };
        let writer = Writer {
            stream: self.stream.clone(),
            sums: self.sums,
            metrics: metrics.clone(),
            pace: self.pace,
            stopping,
        };
        tokio::join!(reader.run(sender), writer.run(receiver));
        if let Err(error) = self.stream.leave().await {
            metrics.failed("the stream was not left", &chain(&error));
        }
    }
}

impl Metrics {
    fn failed(&self, what: &str, error: &str) {
        self.failures.inc();
        tracing::warn!(error, "{what}");
    }
}

/// For ever, since what failed is to work one day.
fn backoff(longest: Duration) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(longest)
        .without_max_times()
        .with_jitter()
}
