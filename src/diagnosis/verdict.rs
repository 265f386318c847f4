//! The verdict on a workload at one moment.

use std::time::Duration;

use jiff::Timestamp;
use k8s_model::ObjectRef;
use serde_json::Value;

use super::cause::{Cause, CauseKind};
use super::deadline::{appearance, deadline};
use super::observed::{Observed, text};
use super::progress;
use super::revision;
use super::rules::{self, Certain, Finding, Scene};
use crate::readiness::{self, Readiness, Reason, condition};
use crate::stack::ServiceName;

/// What a wait is for.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The service, for messages.
    pub service: ServiceName,
    /// Its workload.
    pub workload: ObjectRef,
    /// How long one pod may take from the moment its containers run.
    pub ready_within: Duration,
    /// When the wait began, in the cluster's time. Signs of trouble that are older may be cured already and
    /// only count at the deadline. None where nobody waits: all that is seen counts.
    pub since: Option<Timestamp>,
}

/// How a workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ready.
    Ready,
    /// Not yet.
    Waiting {
        /// Such as `0/1 ready, fetching its image`.
        reason: Reason,
        /// When the verdict changes if nothing else does.
        recheck_at: Timestamp,
    },
    /// It will not become ready, and this is why.
    Broken(Box<Cause>),
    /// Its deadline passed, and nothing says why.
    TimedOut {
        /// What was last seen.
        reason: Reason,
    },
}

/// Judges a workload by what was observed.
#[must_use]
pub fn diagnose(observed: &Observed, expectation: &Expectation) -> Verdict {
    let Some(workload) = observed.find(&expectation.workload) else {
        let reason = Reason::new("it does not exist");
        return undecided(observed.now, appearance(expectation), reason);
    };
    match readiness::of(workload) {
        Readiness::Ready => Verdict::Ready,
        Readiness::Waiting(reason) => {
            let given_up = None;
            judge(observed, expectation, workload, Lack { reason, given_up })
        }
        Readiness::Failed(reason) => {
            let given_up = Some(is_news(workload, expectation));
            judge(observed, expectation, workload, Lack { reason, given_up })
        }
    }
}

/// Why the workload's own status says it is not ready.
struct Lack {
    reason: Reason,
    /// Its controller has given up; whether that was during the wait.
    given_up: Option<bool>,
}

fn judge(observed: &Observed, expectation: &Expectation, workload: &Value, lack: Lack) -> Verdict {
    let scene = Scene {
        observed,
        workload,
        expectation,
    };
    let revision = revision::of(observed, workload);
    // Before the controller has seen the object, its pods are those of an older one.
    let findings = match readiness::unobserved(workload) {
        Some(_) => Vec::new(),
        None => rules::findings(&scene, &revision),
    };
    let deadline = deadline(workload, &revision, expectation);
    let over = observed.now >= deadline;
    let hopeless = over || lack.given_up == Some(true);
    let certain = |finding: &&Finding| match finding.certain {
        Certain::Now => true,
        Certain::At(at) => hopeless || observed.now >= at,
        Certain::AtDeadline => hopeless,
    };
    if let Some(finding) = findings.iter().find(certain) {
        let mut cause = Box::new(finding.cause.clone());
        if lack.given_up.is_some() && cause.event.is_none() {
            cause.event = Some(lack.reason.to_string());
        }
        return Verdict::Broken(cause);
    }
    if lack.given_up == Some(true) || (over && lack.given_up.is_some()) {
        return Verdict::Broken(Box::new(given_up(expectation, workload, &lack.reason)));
    }
    let certain_at = findings.iter().filter_map(|finding| match finding.certain {
        Certain::At(at) => Some(at),
        Certain::Now | Certain::AtDeadline => None,
    });
    let recheck_at = certain_at.fold(deadline, Timestamp::min);
    let doing = match findings.first() {
        Some(finding) => Some(finding.cause.kind.predicate()),
        None => progress::doing(observed, &revision),
    };
    let reason = match doing {
        Some(doing) if readiness::unobserved(workload).is_none() => {
            Reason::new(format!("{}, {doing}", lack.reason))
        }
        _ => lack.reason,
    };
    undecided(observed.now, recheck_at, reason)
}

fn undecided(now: Timestamp, recheck_at: Timestamp, reason: Reason) -> Verdict {
    if now >= recheck_at {
        Verdict::TimedOut { reason }
    } else {
        Verdict::Waiting { reason, recheck_at }
    }
}

/// Whether the controller gave up during the wait. What was applied may cure a workload without touching
/// it (the image is pushed, the Secret is there), and then its old verdict stays until a pod is ready.
fn is_news(workload: &Value, expectation: &Expectation) -> bool {
    let Some(since) = expectation.since else {
        return true;
    };
    let verdict = match text(workload, "/kind") {
        "Deployment" => {
            condition(workload, "Progressing").and_then(|found| found.updated.or(found.since))
        }
        "Job" => return true,
        _ => None,
    };
    verdict.is_none_or(|at| at >= since)
}

fn given_up(expectation: &Expectation, workload: &Value, reason: &Reason) -> Cause {
    let message = reason.to_string();
    Cause {
        service: expectation.service.clone(),
        kind: match text(workload, "/kind") {
            "Job" => CauseKind::JobFailed {
                message: message.clone(),
            },
            _ => CauseKind::NoProgress {
                message: message.clone(),
            },
        },
        chain: vec![expectation.workload.clone()],
        container: None,
        event: Some(message),
        log_tail: Vec::new(),
        pointer: None,
        hints: Vec::new(),
    }
}
