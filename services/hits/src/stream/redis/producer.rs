//! Where `hits-api` puts increments.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use redis::cmd;
use service_kit::Lifecycle;
use service_kit::redis::{CommandError, Durable, Redis};
use tokio::time::sleep;

use super::STREAM;
use crate::increment::Increment;
use crate::stream::{AppendError, Producer};

/// How often the length of the stream is asked for; what comes meanwhile may go beyond its limit.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The stream in Redis. Clones share the connection.
#[derive(Clone, Debug)]
pub struct RedisProducer {
    writes: Durable,
    /// How long the stream was when it was last seen.
    length: Arc<AtomicU64>,
    longest: u64,
}

impl RedisProducer {
    /// The stream in that Redis, of up to about `longest` messages. Starts the tasks that write, and watch how long it
    /// is.
    pub fn new(redis: &Redis, lifecycle: &Lifecycle, longest: u64) -> Self {
        let length = Arc::new(AtomicU64::new(0));
        let watch = watch(redis.apart(), length.clone());
        let stopping = lifecycle.stopping();
        lifecycle.spawn(async move {
            tokio::select! {
                () = watch => {}
                () = stopping.cancelled() => {}
            }
        });
        Self {
            writes: Durable::new(redis, lifecycle),
            length,
            longest,
        }
    }

    async fn add(&self, increment: &Increment) -> Result<(), AppendError> {
        if self.length.load(Ordering::Relaxed) >= self.longest {
            return Err(AppendError::Full(self.longest));
        }
        let mut command = cmd("XADD");
        command.arg(STREAM).arg("*").arg(increment.fields());
        let _id: String = self.writes.write(command).await?;
        Ok(())
    }
}

/// Looks for ever. While Redis is away it takes no increments, however long the stream is.
async fn watch(redis: Redis, length: Arc<AtomicU64>) {
    loop {
        if let Ok(seen) = redis.query(cmd("XLEN").arg(STREAM)).await {
            length.store(seen, Ordering::Relaxed);
        }
        sleep(LOOK_EVERY).await;
    }
}

impl Producer for RedisProducer {
    fn append<'a>(&'a self, increment: &'a Increment) -> BoxFuture<'a, Result<(), AppendError>> {
        self.add(increment).boxed()
    }
}

impl From<CommandError> for AppendError {
    fn from(error: CommandError) -> Self {
        match error.may_have_run() {
            true => Self::OutcomeUnknown(Box::new(error)),
            false => Self::NotAppended(Box::new(error)),
        }
    }
}
