//! The gateway as its image runs it, in front of services that say what reached them.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tokio::time::sleep;

mod auth;
mod clients;
mod config;
mod connections;
mod rate;
mod refusals;
mod routes;
mod shutdown;

/// Ends the test where HAProxy is not installed and that was asked for.
macro_rules! start {
    ($variables:expr) => {
        match gateway::Gateway::start($variables).await {
            Some(gateway) => gateway,
            None => return,
        }
    };
}
pub(crate) use start;

/// Waits until something is so.
pub(crate) async fn until(is_so: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(15), "it never is");
        sleep(Duration::from_millis(50)).await;
    }
}
