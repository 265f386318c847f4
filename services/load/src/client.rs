//! A closed loop: so many connections, each with one request at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::target::Target;

/// The slowest answer that is told from slower ones, in microseconds.
const SLOWEST: u64 = 60_000_000;

/// How much is asked at once, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    pub(crate) success: StatusCode,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Of successes, in microseconds.
    times: Histogram<u64>,
    refused: u64,
    took: Duration,
}

/// Sends requests for as long as `load` says.
pub(crate) async fn run(target: Target, load: &Load) -> Result<Outcome> {
    let started = Instant::now();
    let mut connections = JoinSet::new();
    for first in 0..load.connections {
        connections.spawn(connection(target.clone(), *load, first));
    }
    let mut all = Outcome::new()?;
    while let Some(outcome) = connections.join_next().await {
        let outcome = outcome??;
        all.times.add(&outcome.times)?;
        all.refused += outcome.refused;
    }
    all.took = started.elapsed();
    Ok(all)
}

async fn connection(target: Target, load: Load, first: usize) -> Result<Outcome> {
    let mut outcome = Outcome::new()?;
    let mut sender = connect(&target.address).await?;
    let started = Instant::now();
    let mut number = first;
    while started.elapsed() < load.duration {
        let sent = Instant::now();
        sender.ready().await?;
        let answer = sender.send_request(target.request(number)).await?;
        let status = answer.status();
        let closes = answer
            .headers()
            .get("connection")
            .is_some_and(|value| value == "close");
        let body = answer.into_body().collect().await?.to_bytes();
        match status {
            status if status == load.success => {
                outcome
                    .times
                    .saturating_record(sent.elapsed().as_micros() as u64);
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => outcome.refused += 1,
            status => bail!("{status}: {}", body.escape_ascii()),
        }
        if closes {
            sender = connect(&target.address).await?;
        }
        number += load.connections;
    }
    Ok(outcome)
}

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its errors are those of the requests.
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

impl Outcome {
    fn new() -> Result<Self> {
        Ok(Self {
            times: Histogram::new_with_bounds(1, SLOWEST, 3)?,
            refused: 0,
            took: Duration::ZERO,
        })
    }

    /// Requests per second, and milliseconds.
    pub(crate) fn to_json(&self) -> Value {
        let quantile = |quantile| self.times.value_at_quantile(quantile) as f64 / 1000.0;
        json!({
            "per_second": self.times.len() as f64 / self.took.as_secs_f64(),
            "p50_ms": quantile(0.5),
            "p99_ms": quantile(0.99),
            "refused_per_second": self.refused as f64 / self.took.as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_is_in_seconds_and_milliseconds() {
        let mut outcome = Outcome::new().expect("bounds in order");
        for _ in 0..98 {
            outcome.times.saturating_record(1000);
        }
        outcome.times.saturating_record(8000);
        outcome.times.saturating_record(9000);
        outcome.refused = 10;
        outcome.took = Duration::from_secs(2);
        let json = outcome.to_json();
        assert_eq!(json["per_second"], 50.0);
        assert_eq!(json["p50_ms"], 1.0);
        assert!(
            (7.9..8.1).contains(&json["p99_ms"].as_f64().unwrap_or_default()),
            "{json}"
        );
        assert_eq!(json["refused_per_second"], 5.0);
    }
}
