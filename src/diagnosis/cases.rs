//! Tests of [`diagnose`](super::diagnose) over objects as clusters show them. `now` and `since` are seconds
//! after [`fixture::START`](super::fixture::START), when all objects were made.

mod admission;
mod container;
mod rollout;

use std::time::Duration;

use k8s_model::ObjectRef;
use serde_json::{Value, json};

use super::cause::Cause;
use super::fixture::{at, deployment, observe, pod, replica_set};
use super::{Expectation, Observed, Verdict, diagnose};

const READY_WITHIN: Duration = Duration::from_secs(30);

fn expectation(workload: &Value, since: Option<i64>) -> Expectation {
    Expectation {
        service: "web".parse().unwrap(),
        workload: ObjectRef::of(workload).unwrap(),
        ready_within: READY_WITHIN,
        since: since.map(at),
    }
}

/// A Deployment `web` with one pod, made by `pod`, and what `more` adds.
fn one_pod(
    change: impl FnOnce(Value) -> Value,
    more: impl FnOnce(&Value) -> Vec<Value>,
) -> Observed {
    let web = deployment("web", 1);
    let set = replica_set(&web, "web-7c9");
    let pod = change(pod(&set, "web-7c9-x2"));
    let more = more(&pod);
    observe([web, set, pod].into_iter().chain(more))
}

fn verdict(observed: &Observed, now: i64) -> Verdict {
    verdict_since(observed, now, Some(0))
}

fn verdict_since(observed: &Observed, now: i64, since: Option<i64>) -> Verdict {
    let observed = Observed {
        now: at(now),
        ..observed.clone()
    };
    let workload = ["Deployment", "StatefulSet", "Job"]
        .iter()
        .find_map(|kind| observed.of_kind(kind).next())
        .unwrap();
    diagnose(&observed, &expectation(workload, since))
}

#[track_caller]
fn broken(verdict: Verdict) -> Cause {
    match verdict {
        Verdict::Broken(cause) => *cause,
        other => panic!("expected a cause, got {other:?}"),
    }
}

#[track_caller]
fn waiting(verdict: Verdict) -> (String, i64) {
    match verdict {
        Verdict::Waiting { reason, recheck_at } => (
            reason.to_string(),
            recheck_at.as_second() - at(0).as_second(),
        ),
        other => panic!("expected waiting, got {other:?}"),
    }
}

/// Between two attempts to fetch an image.
fn back_off() -> Value {
    json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"web:1\""}})
}
