//! Writes that count only once they are durable: on the disk of the master, and known to a replica where there are any.
//!
//! Many callers share one round trip: what arrives while one is under way goes out together with the next, closed by
//! one `WAIT`. Redis answers when its append-only file is on the disk (`appendfsync always`), so a batch costs one
//! flush, however many are in it.

use std::fmt;
use std::io;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Pipeline, RedisResult, Value, from_redis_value};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{CommandError, Redis};
use crate::lifecycle::Lifecycle;

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
    /// Starts the task that sends; without it the process is of no use. Batches go over a connection of their own, since
    /// everything behind a `WAIT` waits too.
    #[must_use]
    pub fn new(redis: &Redis, lifecycle: &Lifecycle) -> Self {
        let (writes, receiver) = mpsc::channel(WAITING);
        let task = send(redis.apart(), receiver, lifecycle.stopping());
        lifecycle.spawn_essential("redis-writes", task);
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
        // The task ends without an answer only by a panic, and who knows when.
        let value = answered.await.unwrap_or_else(|_| Err(no_answer()))?;
        from_redis_value(value).map_err(|error| CommandError::Interrupted(error.into()))
    }
}

/// Ends when it is asked to, with what is waiting then.
async fn send(redis: Redis, mut receiver: mpsc::Receiver<Write>, stopping: CancellationToken) {
    let mut writes = Vec::new();
    loop {
        tokio::select! {
            received = receiver.recv_many(&mut writes, BATCH) => if received == 0 {
                break;
            },
            () = stopping.cancelled(), if !receiver.is_closed() => receiver.close(),
        }
        // Whose caller has gone before it was sent is not sent.
        writes.retain(|write| !write.answer.is_closed());
        if writes.is_empty() {
            continue;
        }
        let answers = batch(&redis, &writes).await;
        for (write, answer) in writes.drain(..).zip(answers) {
            // A caller that is gone does not hear of it.
            let _ = write.answer.send(answer);
        }
    }
    // Nobody is left who could write; that is no failure.
    drop(redis);
    stopping.cancelled().await;
}

/// One answer for each write.
async fn batch(redis: &Redis, writes: &[Write]) -> Vec<Result<Value, CommandError>> {
    let replicas = redis.place().replicas();
    let mut pipeline = Pipeline::with_capacity(writes.len() + 1);
    for write in writes {
        pipeline.add_command(write.command.clone());
    }
    if replicas > 0 {
        let wait = pipeline.cmd("WAIT").arg(replicas);
        wait.arg(CONFIRM_LIMIT.as_millis() as u64);
    }
    pipeline.ignore_errors();
    let sent: Result<Vec<RedisResult<Value>>, CommandError> = redis.pipeline(&pipeline).await;
    match sent {
        Ok(values) => {
            redis.forget_a_server_that_takes_no_writes(&values);
            outcomes(values, writes.len(), replicas)
        }
        Err(error) => vec![Err(error); writes.len()],
    }
}

/// What became of each of `number` writes, by Redis's answers to them and, where there are replicas, to `WAIT`.
fn outcomes(
    mut values: Vec<RedisResult<Value>>,
    number: usize,
    replicas: usize,
) -> Vec<Result<Value, CommandError>> {
    let confirmed = match values.split_off(number.min(values.len())).pop() {
        None => replicas == 0,
        Some(count) => count
            .and_then(|count| Ok(from_redis_value::<usize>(count)?))
            .is_ok_and(|count| count >= replicas),
    };
    let outcome = |value| match value {
        Err(error) => Err(CommandError::Refused(error)),
        Ok(_) if !confirmed => Err(CommandError::Unconfirmed),
        Ok(value) => Ok(value),
    };
    let missing = std::iter::repeat_with(|| Err(no_answer()));
    let answered = values.into_iter().map(outcome);
    answered.chain(missing).take(number).collect()
}

fn no_answer() -> CommandError {
    CommandError::Interrupted(io::Error::from(io::ErrorKind::UnexpectedEof).into())
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use redis::cmd;
    use redis::parse_redis_value;

    use super::*;
    use crate::redis::url;

    fn nowhere() -> Redis {
        Redis::new(url("redis://127.0.0.1:1").unwrap())
    }

    #[tokio::test]
    async fn a_write_whose_answer_is_dropped_may_have_run() {
        let (writes, mut receiver) = mpsc::channel(1);
        tokio::spawn(async move { drop(receiver.recv().await) });
        let written = Durable { writes }.write::<Value>(cmd("INCR")).await;
        assert!(
            matches!(written, Err(CommandError::Interrupted(_))),
            "{written:?}"
        );
    }

    #[test]
    fn a_write_without_an_answer_may_have_run() {
        let value = |text: &str| Ok(parse_redis_value(text.as_bytes()).unwrap());
        let words = |outcomes: Vec<Result<Value, CommandError>>| {
            let word = |outcome| match outcome {
                Ok(_) => "counts",
                Err(CommandError::Unconfirmed) => "unconfirmed",
                Err(CommandError::Interrupted(_)) => "open",
                Err(_) => "refused",
            };
            outcomes.into_iter().map(word).collect::<Vec<_>>()
        };
        let error = || parse_redis_value(b"-ERR no\r\n").unwrap().extract_error();
        let both = vec![value(":1\r\n"), error(), value(":1\r\n")];
        assert_eq!(words(outcomes(both, 2, 1)), ["counts", "refused"]);
        let no_replica = vec![value(":1\r\n"), error(), value(":0\r\n")];
        assert_eq!(
            words(outcomes(no_replica, 2, 1)),
            ["unconfirmed", "refused"]
        );
        let one = vec![value(":1\r\n")];
        assert_eq!(words(outcomes(one.clone(), 1, 0)), ["counts"]);
        assert_eq!(words(outcomes(one.clone(), 2, 0)), ["counts", "open"]);
        assert_eq!(words(outcomes(one, 2, 1)), ["unconfirmed", "open"]);
    }

    #[tokio::test]
    async fn the_task_that_writes_belongs_to_the_life_of_the_process() {
        let lifecycle = Lifecycle::default();
        let (one, other) = (
            Durable::new(&nowhere(), &lifecycle),
            Durable::new(&nowhere(), &lifecycle),
        );
        assert_eq!(lifecycle.open_tasks(), 2);
        // Nobody writes any more: it is not broken for that.
        drop(one);
        tokio::task::yield_now().await;
        assert_eq!(lifecycle.broken(), None);
        // It ends with the process, and what comes then is not sent.
        lifecycle.stop().await;
        let late = other.write::<Value>(cmd("INCR")).await;
        assert!(matches!(late, Err(CommandError::Busy)), "{late:?}");
    }
}
