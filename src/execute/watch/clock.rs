//! The cluster's time.

use std::time::Duration;

use http::Request;
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use tokio::time::Instant;

/// `Date` has whole seconds, and an answer takes a while: smaller differences are none.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// The time is only worth a short wait.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Tells the cluster's time: clocks of laptops and of virtual machines that slept differ from it, and all
/// timestamps of objects are the cluster's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Timestamp,
    started: Instant,
}

impl Clock {
    /// Asks the API server; its answer's `Date` header tells. This machine's time where it has none.
    pub(super) async fn of(client: &kube::Client) -> Self {
        let theirs = tokio::time::timeout(TIMEOUT, date(client))
            .await
            .ok()
            .flatten();
        let ours = Timestamp::now();
        let start = theirs
            .filter(|theirs| ours.duration_since(*theirs).abs() > TOLERANCE)
            .unwrap_or(ours);
        Self {
            start,
            started: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.start
            .checked_add(self.started.elapsed())
            .unwrap_or(Timestamp::MAX)
    }
}

async fn date(client: &kube::Client) -> Option<Timestamp> {
    let request = Request::get("/version").body(Body::empty()).ok()?;
    let response = client.send(request).await.ok()?;
    let date = response.headers().get(http::header::DATE)?.to_str().ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}
