//! When a request is tried again, and after how long.

use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::error::RegistryError;
use super::options::Retry;

/// The tries of one request or transfer.
pub(super) struct Attempts {
    policy: Retry,
    delays: ExponentialBackoff,
    since: Instant,
}

impl Attempts {
    pub(super) fn new(policy: Retry) -> Self {
        Self {
            policy,
            delays: delays(policy),
            since: Instant::now(),
        }
    }

    /// Bytes moved: what failed before does not count any more.
    pub(super) fn progressed(&mut self) {
        *self = Self::new(self.policy);
    }

    /// Waits until the next try; gives the error back where there is to be none.
    pub(super) async fn after(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        if !error.may_pass() {
            return Err(error);
        }
        let Some(delay) = self.delays.next() else {
            return Err(error);
        };
        let delay = match error.retry_after() {
            Some(asked) if asked > self.policy.longest_retry_after => return Err(error),
            Some(asked) => delay.max(asked),
            None => delay,
        };
        if self.since.elapsed() + delay > self.policy.total {
            return Err(error);
        }
        tracing::debug!(?delay, %error, "trying again");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

fn delays(policy: Retry) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(policy.first_delay)
        .with_max_delay(policy.longest_delay)
        .with_factor(2.0)
        .with_max_times(policy.times)
        .with_jitter()
        .build()
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // more seconds than fit in a number are as good as never
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::error::{Action, ErrorKind};

    fn error(kind: ErrorKind) -> RegistryError {
        RegistryError::new("r.io", "a", &Action::LogIn, kind)
    }

    fn limited(seconds: u64) -> RegistryError {
        error(ErrorKind::RateLimited {
            retry_after: Some(Duration::from_secs(seconds)),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn tries_end_after_their_number() {
        let mut attempts = Attempts::new(Retry::default());
        let start = Instant::now();
        for _ in 0..5 {
            attempts.after(error(ErrorKind::Unreachable)).await.unwrap();
        }
        assert!(attempts.after(error(ErrorKind::Unreachable)).await.is_err());
        // 0.3 + 0.6 + 1.2 + 2.4 + 4.8 s, each with up to as much again as jitter
        let waited = start.elapsed().as_secs_f64();
        assert!((9.3..=18.7).contains(&waited), "{waited}");
        attempts.progressed();
        attempts.after(error(ErrorKind::Unreachable)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_says_when_to_come_back() {
        let mut attempts = Attempts::new(Retry::default());
        let start = Instant::now();
        attempts.after(limited(50)).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 50);
        attempts.after(limited(61)).await.unwrap_err();
        attempts.after(limited(55)).await.unwrap();
        attempts.after(limited(60)).await.unwrap();
        // 165 s are over of 180
        attempts.after(limited(20)).await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), 165);
    }

    #[tokio::test(start_paused = true)]
    async fn what_will_not_pass_is_final() {
        for kind in [
            ErrorKind::Unauthorized,
            ErrorKind::Denied,
            ErrorKind::NotFound,
            ErrorKind::TooLarge,
            ErrorKind::Tls,
            ErrorKind::Local,
            ErrorKind::Protocol("odd".to_owned()),
        ] {
            let mut attempts = Attempts::new(Retry::default());
            let start = Instant::now();
            attempts.after(error(kind)).await.unwrap_err();
            assert_eq!(start.elapsed(), Duration::ZERO);
        }
    }

    #[test]
    fn seconds_and_dates_are_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:39 GMT", Some(2)),
            ("Sunday, 06-Nov-94 08:49:38 GMT", Some(1)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(parse_retry_after(value, now), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(value in "[ -~]{0,40}") {
            let _ = parse_retry_after(&value, SystemTime::now());
        }
    }
}
