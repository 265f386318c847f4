//! The stream that increments are put on. `hits-worker` reads it; the field
//! names are the contract between the two, and its tests use both.

use redis::cmd;
use service_kit::redis::{CommandError, Durable, Redis};
use uuid::Uuid;

const STREAM: &str = "hits";

/// One increment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Increment {
    /// Names this one increment for ever: whoever sums it up does so once.
    pub(crate) event: Uuid,
    pub(crate) key: Uuid,
    /// At least 1.
    pub(crate) value: i64,
}

/// The stream. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Stream {
    writes: Durable,
}

impl Stream {
    /// The stream in that Redis. Starts the task that writes.
    pub fn new(redis: &Redis) -> Self {
        Self {
            writes: Durable::new(redis),
        }
    }

    /// Appends an increment. It is on the stream, durably, when this succeeds.
    pub(crate) async fn append(&self, increment: &Increment) -> Result<(), CommandError> {
        let mut command = cmd("XADD");
        command
            .arg(STREAM)
            .arg("*")
            .arg("event")
            .arg(increment.event.to_string())
            .arg("key")
            .arg(increment.key.to_string())
            .arg("value")
            .arg(increment.value);
        let _id: String = self.writes.write(command).await?;
        Ok(())
    }
}
