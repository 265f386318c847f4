//! Where `hits-api` puts increments.

use futures_util::future::{BoxFuture, FutureExt};
use redis::cmd;
use service_kit::Lifecycle;
use service_kit::redis::{CommandError, Durable, Redis};

use super::STREAM;
use crate::increment::Increment;
use crate::stream::{AppendError, Producer};

/// The stream in Redis. Clones share the connection.
#[derive(Clone, Debug)]
pub struct RedisProducer {
    writes: Durable,
}

impl RedisProducer {
    /// The stream in that Redis. Starts the task that writes.
    pub fn new(redis: &Redis, lifecycle: &Lifecycle) -> Self {
        Self {
            writes: Durable::new(redis, lifecycle),
        }
    }

    async fn add(&self, increment: &Increment) -> Result<(), AppendError> {
        let mut command = cmd("XADD");
        command.arg(STREAM).arg("*").arg(increment.fields());
        let _id: String = self.writes.write(command).await?;
        Ok(())
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
