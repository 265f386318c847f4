//! The gateway as its image runs it, in front of services that say what reached them.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use gateway::Gateway;
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

/// What one of its metrics is.
pub(crate) async fn metric(gateway: &Gateway, series: &str) -> u32 {
    let metrics = gateway.internal().get("/metrics", &[]).await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(series));
    let value = lines.next().expect("it is measured");
    value.trim().parse().unwrap()
}
