//! How long a workload may take.
//!
//! `readyWithin` is the time of one pod, from the moment the last of its containers runs. What comes before
//! (scheduling, volumes, fetching the image, init containers) has an allowance of its own. Every step of a
//! rollout (a pod created, started, ready) starts the clock anew, so that ten replicas one after another get
//! ten times the time of one; a workload that goes back and forth without end is stopped by the sum.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::observed::{text, time};
use super::pod::Pod;
use super::revision::Revision;
use super::verdict::Expectation;
use crate::readiness::count;

/// For all that happens before a pod's containers run. Fetching an image of half a gigabyte over 20 Mbit/s
/// takes 200 s, a cloud's volume or node one to three minutes.
pub const START_ALLOWANCE: Duration = Duration::from_secs(300);

/// For the controllers to report what happened.
pub const SETTLING: Duration = Duration::from_secs(10);

/// When the wait for a workload is over, cause or none; later with every step it makes.
pub(super) fn deadline(
    workload: &Value,
    revision: &Revision<'_>,
    expectation: &Expectation,
) -> Timestamp {
    let desired = desired(workload);
    let begin = expectation
        .since
        .or_else(|| time(workload, "/metadata/creationTimestamp"));
    let steps = revision.pods.iter().map(newest_step).max().flatten();
    let last = begin.max(steps).unwrap_or(Timestamp::MIN);
    let running = |pod: &Pod<'_>| pod.is_ready() || pod.running_since().is_some();
    let complete =
        revision.pods.len() >= desired && revision.pods.iter().all(running) && desired > 0;
    let own = if complete {
        let steady = Duration::from_secs(count(workload, "/spec/minReadySeconds").unsigned_abs());
        later(last, expectation.ready_within.max(steady) + SETTLING)
    } else {
        later(last, START_ALLOWANCE + expectation.ready_within)
    };
    match expectation.since {
        Some(since) => own.min(later(since, longest(desired, expectation))),
        None => own,
    }
}

/// The deadline of a workload that is not there at all.
pub(super) fn appearance(expectation: &Expectation) -> Timestamp {
    later(
        expectation.since.unwrap_or(Timestamp::MIN),
        START_ALLOWANCE + expectation.ready_within,
    )
}

/// `at` plus `duration`, at most the end of time.
pub(super) fn later(at: Timestamp, duration: Duration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// How many pods the workload wants.
pub(super) fn desired(workload: &Value) -> usize {
    let wanted = match text(workload, "/kind") {
        "DaemonSet" => count(workload, "/status/desiredNumberScheduled"),
        "Job" | "Pod" => 1,
        _ => workload
            .pointer("/spec/replicas")
            .and_then(Value::as_i64)
            .unwrap_or(1),
    };
    usize::try_from(wanted).unwrap_or(0)
}

fn newest_step(pod: &Pod<'_>) -> Option<Timestamp> {
    pod.created()
        .max(pod.running_since())
        .max(pod.ready_since())
}

fn longest(desired: usize, expectation: &Expectation) -> Duration {
    let rounds = u32::try_from(desired.max(1)).unwrap_or(u32::MAX);
    (START_ALLOWANCE + expectation.ready_within + SETTLING).saturating_mul(rounds)
}
