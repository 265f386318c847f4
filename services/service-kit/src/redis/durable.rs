//! Writes that count only once they are durable: on the disk of the master, and known to a replica where there are any.
//!
//! Many callers share one round trip: what arrives while one is under way goes out together with the next, closed by
//! one `WAIT`. Redis answers when its append-only file is on the disk (`appendfsync always`), so a batch costs one
//! flush, however many are in it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Pipeline, RedisError, Value, from_redis_value};
use tokio::sync::{mpsc, oneshot};

use super::{CommandError, Redis};

/// Writes that wait for their turn; more are refused at once.
const WAITING: usize = 10_000;
/// Writes in one round trip.
const BATCH: usize = 1000;
/// How long replicas have to confirm; below the time for an answer.
const CONFIRM_LIMIT: Duration = Duration::from_secs(1);

/// Sends writes in batches. Clones share them.
#[derive(Clone)]
pub struct Durable {
    writes: mpsc::Sender<Write>,
}

struct Write {
    command: Cmd,
    answer: oneshot::Sender<Result<Value, CommandError>>,
}

impl Durable {
    /// Starts the task that sends; it ends with the last clone. Batches go over a connection of their own, since
    /// everything behind a `WAIT` waits too.
    #[must_use]
    pub fn new(redis: &Redis) -> Self {
        let (writes, receiver) = mpsc::channel(WAITING);
        tokio::spawn(send(redis.apart(), receiver));
        Self { writes }
    }

    /// Sends a write, once.
    ///
    /// # Errors
    /// [`Interrupted`](CommandError::Interrupted) and [`Unconfirmed`](CommandError::Unconfirmed) leave open whether it
    /// counts; all others say that it does not.
    pub async fn write<T: FromRedisValue>(&self, command: Cmd) -> Result<T, CommandError> {
        let (answer, answered) = oneshot::channel();
        let write = Write { command, answer };
        self.writes
            .try_send(write)
            .map_err(|_| CommandError::Busy)?;
        // The task drops an answer only by a panic.
        let value = answered.await.map_err(|_| CommandError::Busy)??;
        from_redis_value(value).map_err(|error| CommandError::Interrupted(error.into()))
    }
}

async fn send(redis: Redis, mut receiver: mpsc::Receiver<Write>) {
    let replicas = redis.place().replicas();
    let mut writes = Vec::new();
    while receiver.recv_many(&mut writes, BATCH).await > 0 {
        // Whose caller has gone before it was sent is not sent.
        writes.retain(|write| !write.answer.is_closed());
        if writes.is_empty() {
            continue;
        }
        let commands: Vec<Cmd> = writes.iter().map(|write| write.command.clone()).collect();
        let answers = batch(&redis, commands, replicas).await;
        for (write, answer) in writes.drain(..).zip(answers) {
            // A caller that is gone does not hear of it.
            let _ = write.answer.send(answer);
        }
    }
}

/// One answer for each command.
async fn batch(
    redis: &Redis,
    commands: Vec<Cmd>,
    replicas: usize,
) -> Vec<Result<Value, CommandError>> {
    let number = commands.len();
    let mut pipeline = Pipeline::with_capacity(number + 1);
    for command in commands {
        pipeline.add_command(command);
    }
    if replicas > 0 {
        let wait = pipeline.cmd("WAIT").arg(replicas);
        wait.arg(CONFIRM_LIMIT.as_millis() as u64);
    }
    pipeline.ignore_errors();
    let sent: Result<Vec<Result<Value, RedisError>>, CommandError> =
        redis.pipeline(&pipeline).await;
    match sent {
        Ok(mut values) => {
            let confirmed = match values.split_off(number.min(values.len())).pop() {
                None => replicas == 0,
                Some(count) => count
                    .and_then(|count| Ok(from_redis_value::<usize>(count)?))
                    .is_ok_and(|count| count >= replicas),
            };
            redis.forget_a_server_that_takes_no_writes(&values);
            values
                .into_iter()
                .map(|value| match value {
                    Err(error) => Err(CommandError::Refused(error)),
                    Ok(_) if !confirmed => Err(CommandError::Unconfirmed),
                    Ok(value) => Ok(value),
                })
                .collect()
        }
        Err(error) => {
            let shared = Arc::new(error);
            (0..number).map(|_| Err(shared.as_ref().clone())).collect()
        }
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable").finish_non_exhaustive()
    }
}
