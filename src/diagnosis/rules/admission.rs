//! Pods that the API server does not let in.

use std::time::Duration;

use jiff::Timestamp;
use k8s_model::ObjectRef;

use super::super::cause::{Cause, CauseKind};
use super::super::deadline::{desired, later};
use super::super::event::about;
use super::super::revision::Revision;
use super::{Certain, Finding, Scene, pointer};
use crate::readiness::condition;

/// Caches lag, and what another pod held becomes free.
const FREED: Duration = Duration::from_secs(5);

/// Webhooks that were just installed, service accounts of a new namespace.
const STARTING: Duration = Duration::from_secs(30);

/// What the controller was told when it tried to make a pod.
struct Refusal {
    message: String,
    since: Option<Timestamp>,
}

/// The newest refusal, as long as pods are missing.
pub(super) fn find(scene: &Scene<'_>, revision: &Revision<'_>) -> Option<Finding> {
    if revision.pods.len() >= desired(scene.workload) {
        return None;
    }
    let refusal = match revision.replica_set {
        Some(set) => of_replica_set(set)?,
        None => of_events(scene)?,
    };
    let (kind, certain) = judge(scene, &refusal);
    let pointer = match &kind {
        CauseKind::ConfigMissing { .. } => {
            let field = format!("{}/serviceAccountName", pointer::base(scene.workload));
            pointer::existing(scene.workload, field)
        }
        _ => None,
    };
    let set = revision.replica_set.and_then(ObjectRef::of);
    let chain = std::iter::once(scene.expectation.workload.clone()).chain(set);
    Some(Finding {
        cause: Cause {
            service: scene.expectation.service.clone(),
            kind,
            chain: chain.collect(),
            container: None,
            event: Some(refusal.message),
            log_tail: Vec::new(),
            pointer,
            hints: Vec::new(),
        },
        certain,
    })
}

fn of_replica_set(set: &serde_json::Value) -> Option<Refusal> {
    let failure = condition(set, "ReplicaFailure").filter(|failure| failure.holds)?;
    Some(Refusal {
        message: failure.message.to_owned(),
        since: failure.since,
    })
}

/// Other controllers only leave events. One that is older than the wait, or than a success, is over.
fn of_events(scene: &Scene<'_>) -> Option<Refusal> {
    let events = about(scene.observed, scene.workload);
    let last = |reason: &str| events.iter().rfind(|event| event.reason == reason);
    let failed = last("FailedCreate")?;
    let since = scene.expectation.since;
    let cured = last("SuccessfulCreate").is_some_and(|event| event.last > failed.last);
    if cured || since.is_some_and(|since| failed.last.is_none_or(|last| last < since)) {
        return None;
    }
    Some(Refusal {
        message: failed.message.to_owned(),
        since: failed.first,
    })
}

fn judge(scene: &Scene<'_>, refusal: &Refusal) -> (CauseKind, Certain) {
    let message = refusal.message.clone();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let begin = refusal
        .since
        .max(scene.expectation.since)
        .max(scene.observed.pod_gone);
    let after =
        |time: Duration| begin.map_or(Certain::AtDeadline, |begin| Certain::At(later(begin, time)));
    if has(&["exceeded quota"]) {
        let certain = if scene.observed.pod_is_leaving() {
            Certain::AtDeadline
        } else {
            after(FREED)
        };
        return (CauseKind::QuotaExceeded { message }, certain);
    }
    if has(&[
        "failed calling webhook",
        "no API token found",
        "timed out",
        "connection refused",
        "serviceaccount \"default\" not found",
    ]) {
        return (CauseKind::AdmissionDenied { message }, after(STARTING));
    }
    if let Some(account) = pointer::quoted_after(&message, "serviceaccount ") {
        let what = format!("ServiceAccount/{account}");
        return (CauseKind::ConfigMissing { what }, after(FREED));
    }
    let refused = has(&["forbidden", "denied", "is invalid", "Invalid value"]);
    let certain = if refused {
        Certain::Now
    } else {
        after(STARTING)
    };
    (CauseKind::AdmissionDenied { message }, certain)
}
