//! A Redis connection that comes back by itself, finds the master of the moment, and tells apart a command that was
//! never sent from one that may have run.

mod durable;
mod link;
mod place;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Value,
};
use tokio::time::timeout;

use crate::problem::chain;

use link::Link;

pub use durable::Durable;
pub use place::{Place, REDIS_URL, url};

/// For one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// For a connection, waiting for others who are connecting included.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(2);
/// For the answer to whether it is ready: two of them, on an old connection and a new one, fit into the next.
const PING_LIMIT: Duration = Duration::from_millis(400);
/// Below the 900 ms that a check has, so that it ends by itself and says why.
const READY_LIMIT: Duration = Duration::from_millis(850);

/// A Redis server. Clones share one connection; commands of all of them are
/// pipelined on it.
#[derive(Clone)]
pub struct Redis {
    link: Arc<Link>,
}

/// Why a command has no result, by what is known of its effect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no connection: the command was not sent.
    #[error("cannot connect to Redis")]
    Unreachable(#[source] RedisError),
    /// No connection could be had in time: the command was not sent.
    #[error("no connection to Redis within {} s", ACQUIRE_LIMIT.as_secs())]
    Busy,
    /// Redis answered with an error: the command had no effect.
    #[error("Redis refused the command")]
    Refused(#[source] RedisError),
    /// The connection broke or the answer did not come: it may have run.
    #[error("no answer from Redis")]
    Interrupted(#[source] RedisError),
    /// It has run, but no replica has confirmed it: a failure of the master now would lose it.
    #[error("no replica of Redis has confirmed the write")]
    Unconfirmed,
}

impl CommandError {
    /// Whether what was sent may count: it may have run, and what has run may be lost again.
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Interrupted(_) | Self::Unconfirmed => true,
            Self::Unreachable(_) | Self::Busy | Self::Refused(_) => false,
        }
    }
}

impl Redis {
    /// Connects when a command is first sent.
    pub fn new(place: Place) -> Self {
        Self::with_answer_limit(place, ANSWER_LIMIT)
    }

    /// The same, over a connection of its own.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self::new(self.place().clone())
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        self.link.place()
    }

    /// For commands that block in Redis for up to `longest`: a connection of
    /// its own, because everything else on it would wait too.
    #[must_use]
    pub fn blocking(&self, longest: Duration) -> Self {
        Self::with_answer_limit(self.place().clone(), longest + ANSWER_LIMIT)
    }

    /// Sends one command.
    ///
    /// # Errors
    /// Says what is known of its effect. It is never sent twice.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CommandError> {
        let (mut connection, number) = self.link.connection().await?;
        let result = command.query_async(&mut connection).await;
        self.settle(result, number)
    }

    /// Sends a pipeline.
    ///
    /// # Errors
    /// As [`query`](Self::query). Where the pipeline is not atomic, a refusal
    /// of one command says nothing about the others.
    pub async fn pipeline<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<T, CommandError> {
        let (mut connection, number) = self.link.connection().await?;
        let result = pipeline.query_async(&mut connection).await;
        self.settle(result, number)
    }

    /// Sends a command that may run twice without harm: once more on a new
    /// connection when the first broke, as it does after a restart of Redis.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn query_twice<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CommandError> {
        match self.query(command).await {
            Err(CommandError::Interrupted(_)) => self.query(command).await,
            result => result,
        }
    }

    /// Whether Redis answers; for [`Kit::ready_when`](crate::Kit::ready_when).
    ///
    /// # Errors
    /// The reason why not.
    pub async fn ready(self) -> Result<(), String> {
        let asked = async {
            match self.ping().await {
                Err(CommandError::Interrupted(_)) => self.ping().await,
                answer => answer,
            }
        };
        match timeout(READY_LIMIT, asked).await {
            Ok(answer) => answer.map_err(|error| chain(&error)),
            Err(_) => Err(format!("no answer within {} ms", READY_LIMIT.as_millis())),
        }
    }

    /// Has less time than others: a connection on which nothing comes back, as when the server has vanished, must be
    /// thrown away before the question is.
    async fn ping(&self) -> Result<(), CommandError> {
        let (mut connection, number) = self.link.connection().await?;
        let ping = redis::cmd("PING");
        let pong = timeout(PING_LIMIT, ping.query_async::<String>(&mut connection)).await;
        let pong = pong.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        self.settle(pong.map(drop), number)
    }

    fn with_answer_limit(place: Place, limit: Duration) -> Self {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(limit));
        Self {
            link: Arc::new(Link::new(place, config)),
        }
    }

    /// For a pipeline that ignores errors: they are among its answers.
    fn forget_a_server_that_takes_no_writes(&self, answers: &[RedisResult<Value>]) {
        let mut errors = answers.iter().filter_map(|answer| answer.as_ref().err());
        if errors.any(wants_another_server) {
            self.link.forget(self.link.number());
        }
    }

    fn settle<T>(&self, result: RedisResult<T>, number: u64) -> Result<T, CommandError> {
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let answered = was_answered(&error);
        if !answered || wants_another_server(&error) {
            self.link.forget(number);
        }
        if answered {
            Err(CommandError::Refused(error))
        } else {
            Err(CommandError::Interrupted(error))
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({:?})", self.place())
    }
}

/// Whether the error is Redis's own word. Anything else (the connection, the
/// time limit, an answer that could not be read) leaves the effect open.
fn was_answered(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// Whether there may be a server that takes the command while this one does not: it is a replica, or a master that has
/// lost its replicas, maybe because they follow another.
fn wants_another_server(error: &RedisError) -> bool {
    // One of a single command, all of a pipeline, and those for which a transaction was aborted.
    let errors = error.clone().into_server_errors();
    errors
        .iter()
        .flat_map(|errors| errors.iter())
        .any(|(_, error)| {
            // At its end a transaction is refused as a whole.
            let cause = error
                .details()
                .and_then(|details| details.strip_prefix("Transaction discarded because of: "))
                .and_then(|details| details.split(' ').next());
            let code = cause.unwrap_or(error.code());
            matches!(code, "READONLY" | "MASTERDOWN" | "NOREPLICAS")
        })
}

#[cfg(test)]
mod tests {
    use redis::{ServerErrorKind, parse_redis_value};

    use super::*;

    #[test]
    fn only_an_answer_of_the_server_means_no_effect() {
        let refused = RedisError::from((ErrorKind::Server(ServerErrorKind::ResponseError), "no"));
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let garbled = RedisError::from((ErrorKind::Parse, "what"));
        assert!(was_answered(&refused));
        assert!(!was_answered(&broken));
        assert!(!was_answered(&garbled));
    }

    #[test]
    fn a_server_that_takes_no_writes_is_left() {
        let refusal = |line: &str| {
            let answer = parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
            answer.extract_error().unwrap_err()
        };
        for line in [
            "READONLY You can't write against a read only replica.",
            "NOREPLICAS Not enough good replicas to write.",
            "MASTERDOWN Link with MASTER is down.",
            "EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.",
        ] {
            assert!(wants_another_server(&refusal(line)), "{line}");
        }
        for line in [
            "ERR increment or decrement would overflow",
            "EXECABORT Transaction discarded because of previous errors.",
        ] {
            assert!(!wants_another_server(&refusal(line)), "{line}");
        }
    }
}
