//! The connection that the clones of a [`Redis`](super::Redis) share, and how the next one is made: by one task for all
//! who wait for it, at growing distances while that fails.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::future::{BoxFuture, FutureExt, Shared};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisResult};
use tokio::time::{Instant, sleep, timeout};

use super::{ACQUIRE_LIMIT, CommandError, Place};

/// From the beginning of one attempt to that of the next. Chance adds up to as much again.
const DISTANCES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(25))
    // Soon enough for a new master to be found within seconds.
    .with_max_delay(LONGEST_DISTANCE)
    .without_max_times()
    .with_jitter();
const LONGEST_DISTANCE: Duration = Duration::from_millis(250);
/// Who has done without an attempt for so long may make one at once.
const QUIET: Duration = Duration::from_secs(2);

/// A connection that is made when it is asked for.
pub(super) struct Link {
    place: Place,
    config: AsyncConnectionConfig,
    current: Mutex<Current>,
}

struct Current {
    /// To connect, under way or done; none once its connection has been thrown away.
    attempt: Option<Attempt>,
    /// Which one that is, so that one failure seen by many callers throws away one connection and not its successor
    /// too.
    number: u64,
    /// When the next one may begin.
    next: Option<Instant>,
    distances: ExponentialBackoff,
}

type Attempt = Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>;

impl Link {
    pub(super) fn new(place: Place, config: AsyncConnectionConfig) -> Self {
        let current = Current {
            attempt: None,
            number: 0,
            next: None,
            distances: DISTANCES.build(),
        };
        Self {
            place,
            config,
            current: Mutex::new(current),
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The connection and its number. Whoever asks while there is none gets the result of the same attempt.
    pub(super) async fn connection(&self) -> Result<(MultiplexedConnection, u64), CommandError> {
        let (attempt, number) = self.attempt();
        match timeout(ACQUIRE_LIMIT, attempt).await {
            Ok(Ok(connection)) => Ok((connection, number)),
            Ok(Err(error)) => Err(CommandError::Unreachable(error)),
            Err(_) => Err(CommandError::Busy),
        }
    }

    /// Throws a connection away, if it is still the current one.
    pub(super) fn forget(&self, number: u64) {
        let mut current = self.current();
        if current.number == number {
            current.attempt = None;
        }
    }

    /// The number of the connection that was made last.
    pub(super) fn number(&self) -> u64 {
        self.current().number
    }

    fn attempt(&self) -> (Attempt, u64) {
        let mut current = self.current();
        if let Some(attempt) = &current.attempt
            && !matches!(attempt.peek(), Some(Err(_)))
        {
            return (attempt.clone(), current.number);
        }
        let pause = current.pause();
        let (place, config) = (self.place.clone(), self.config.clone());
        let attempt = async move {
            sleep(pause).await;
            place.connect(config).await
        };
        let attempt = attempt.boxed().shared();
        // It goes on when those who wait for it have gone.
        tokio::spawn(attempt.clone());
        current.attempt = Some(attempt.clone());
        current.number += 1;
        (attempt, current.number)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    /// How long the next attempt has to wait.
    fn pause(&mut self) -> Duration {
        let now = Instant::now();
        let begins = match self.next {
            Some(next) if now < next + QUIET => next.max(now),
            _ => {
                self.distances = DISTANCES.build();
                now
            }
        };
        let distance = self.distances.next().unwrap_or(LONGEST_DISTANCE);
        self.next = Some(begins + distance);
        begins - now
    }
}
