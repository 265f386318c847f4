//! The settings that every service has.

use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::config::{Reader, Unusable, Variable, parsed, seconds};

const PORT: Variable<u16> = Variable::new("PORT", "a port number from 0 to 65535", parsed);
const LOG_LEVEL: Variable<String> = Variable::new(
    "LOG_LEVEL",
    "off, error, warn, info, debug, trace, or directives such as info,hyper=debug",
    log_filter,
);
const DRAIN_SECONDS: Variable<Duration> =
    Variable::new("DRAIN_SECONDS", "seconds from 0 to 3600", seconds);
const REQUEST_SECONDS: Variable<Duration> =
    Variable::new("REQUEST_SECONDS", "seconds from 0.1 to 3600", |text| {
        seconds(text).filter(|limit| *limit >= Duration::from_millis(100))
    });

const MAX_REQUESTS: Variable<usize> =
    Variable::new("MAX_REQUESTS", "a number from 1 to 100000", |text| {
        parsed(text).filter(|number| (1..=100_000).contains(number))
    });

const MAX_CONNECTIONS: Variable<usize> =
    Variable::new("MAX_CONNECTIONS", "a number from 1 to 1000000", |text| {
        parsed(text).filter(|number| (1..=1_000_000).contains(number))
    });

const TRUSTED_PROXIES: Variable<usize> =
    Variable::new("TRUSTED_PROXIES", "a number from 0 to 10", |text| {
        parsed(text).filter(|number| *number <= 10)
    });

/// What every service reads from its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `PORT`, default 8080: where to listen, on all addresses. 0 picks a free one.
    pub port: u16,
    /// `LOG_LEVEL`, default `info`: a level, or directives of `tracing`.
    pub log_filter: String,
    /// `DRAIN_SECONDS`, default 5: how long new connections are still accepted
    /// once shutdown was asked for, so that load balancers learn of it first.
    pub drain: Duration,
    /// `REQUEST_SECONDS`, default 10: how long a request may take, and, while its answer is sent, how long nothing of
    /// it may be read. Shutdown waits as long, and a little more, for those that are open.
    pub request_limit: Duration,
    /// `MAX_REQUESTS`, default 1000: how many requests are answered at once; more are told to come back later.
    pub concurrency: usize,
    /// `MAX_CONNECTIONS`, default 4000: how many connections there are at once; more wait to be accepted. An idle one
    /// takes some 12 kB and a file.
    pub connections: usize,
    /// `TRUSTED_PROXIES`, default 0: how many proxies in front add the address they are asked from to
    /// `X-Forwarded-For`.
    pub proxies: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 8080,
            log_filter: "info".to_owned(),
            drain: Duration::from_secs(5),
            request_limit: Duration::from_secs(10),
            concurrency: 1000,
            connections: 4000,
            proxies: 0,
        }
    }
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// When a variable is unusable.
    pub fn read(env: &mut Reader<'_>) -> Result<Self, Unusable> {
        let default = Self::default();
        let port = env.or(&PORT, default.port);
        let log_filter = env.or(&LOG_LEVEL, default.log_filter);
        let drain = env.or(&DRAIN_SECONDS, default.drain);
        let request_limit = env.or(&REQUEST_SECONDS, default.request_limit);
        let concurrency = env.or(&MAX_REQUESTS, default.concurrency);
        let connections = env.or(&MAX_CONNECTIONS, default.connections);
        let proxies = env.or(&TRUSTED_PROXIES, default.proxies);
        Ok(Self {
            port: port?,
            log_filter: log_filter?,
            drain: drain?,
            request_limit: request_limit?,
            concurrency: concurrency?,
            connections: connections?,
            proxies: proxies?,
        })
    }
}

/// A lone word must be a level: `EnvFilter` would take `inof` for the name of
/// a module and silence everything else.
fn log_filter(text: &str) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let words_are_levels = text
        .split(',')
        .filter(|directive| !directive.contains('='))
        .all(|word| is_level(word.trim()));
    (words_are_levels && EnvFilter::try_new(text).is_ok()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_filters() {
        for good in ["info", "WARN", "info,hyper=debug", "off"] {
            assert_eq!(log_filter(good).as_deref(), Some(good));
        }
        for bad in ["inof", "verbose", "info,hyper=loud", "info,hyper"] {
            assert_eq!(log_filter(bad), None, "{bad}");
        }
    }
}
