//! The rules that find causes; each file knows one area. A rule says what it found and when that is certain.

mod admission;
mod config;
mod crash;
mod image;
mod pointer;
mod probe;
mod run;
mod schedule;
mod volume;

use jiff::Timestamp;
use k8s_model::ObjectRef;
use serde_json::Value;

use super::cause::{Cause, CauseKind};
use super::event::Event;
use super::observed::{Observed, text};
use super::pod::{Container, Pod};
use super::revision::Revision;
use super::verdict::Expectation;

/// A suspected cause and when the suspicion is certain.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) cause: Cause,
    pub(super) certain: Certain,
}

/// When a suspicion becomes a verdict, if nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certain {
    /// It is one.
    Now,
    /// At this time.
    At(Timestamp),
    /// With the workload's deadline.
    AtDeadline,
}

/// What all rules look at.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) observed: &'a Observed,
    pub(super) workload: &'a Value,
    pub(super) expectation: &'a Expectation,
}

/// What a rule found in a pod or container, before it has its place in the chain.
struct Symptom {
    kind: CauseKind,
    certain: Certain,
    event: Option<String>,
    pointer: Option<String>,
    subject: Option<ObjectRef>,
}

impl Symptom {
    fn new(kind: CauseKind, certain: Certain) -> Self {
        Self {
            kind,
            certain,
            event: None,
            pointer: None,
            subject: None,
        }
    }

    fn told_by(mut self, event: Option<&Event<'_>>) -> Self {
        self.event = event.map(Event::line);
        self
    }

    fn said(mut self, text: &str) -> Self {
        self.event = (!text.is_empty()).then(|| text.to_owned());
        self
    }

    fn behind(mut self, pointer: Option<String>) -> Self {
        self.pointer = pointer;
        self
    }

    /// The object below the pod that shows it.
    fn on(mut self, subject: Option<ObjectRef>) -> Self {
        self.subject = subject;
        self
    }
}

impl Scene<'_> {
    fn is_job(&self) -> bool {
        text(self.workload, "/kind") == "Job"
    }

    /// `certain`, unless the sign is older than the wait: then it may have been cured by what was applied,
    /// and counts only if nothing better comes until the deadline.
    fn unless_stale(&self, pod: &Pod<'_>, sign: Option<Timestamp>, certain: Certain) -> Certain {
        let since = self.expectation.since;
        let fresh =
            |at: Option<Timestamp>| since.is_none_or(|since| at.is_some_and(|at| at >= since));
        // Clocks of nodes differ; a pod made during the wait can only show signs made during it.
        if fresh(pod.created()) || fresh(sign) {
            certain
        } else {
            Certain::AtDeadline
        }
    }
}

/// All suspicions, the most telling first.
pub(super) fn findings(scene: &Scene<'_>, revision: &Revision<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = admission::find(scene, revision).into_iter().collect();
    for pod in &revision.pods {
        found.extend(of_pod(scene, revision, pod));
    }
    found.extend(failed_pods(scene, revision));
    if text(scene.workload, "/kind") == "StatefulSet" {
        found.extend(blocking_pods(scene, revision));
    }
    found
}

fn of_pod(scene: &Scene<'_>, revision: &Revision<'_>, pod: &Pod<'_>) -> Vec<Finding> {
    if pod.has_failed() && !scene.is_job() {
        return Vec::new();
    }
    let whole = [
        volume::claims,
        schedule::unschedulable,
        volume::mounts,
        run::sandbox,
    ];
    let whole = whole.into_iter().filter_map(|rule| rule(scene, pod));
    let mut found: Vec<Finding> = whole
        .map(|symptom| finding(scene, revision, pod, None, symptom))
        .collect();
    let rules = [
        image::pull,
        config::missing,
        run::cannot,
        crash::ends,
        probe::readiness,
    ];
    for container in pod.containers() {
        let symptoms = rules.iter().filter_map(|rule| rule(scene, pod, &container));
        found.extend(
            symptoms.map(|symptom| finding(scene, revision, pod, Some(&container), symptom)),
        );
    }
    found
}

/// Pods that failed as a whole: their controller replaces them, so one is an accident.
fn failed_pods(scene: &Scene<'_>, revision: &Revision<'_>) -> Option<Finding> {
    if scene.is_job() {
        return None;
    }
    let fresh = |pod: &&Pod<'_>| {
        let since = scene.expectation.since;
        pod.has_failed() && since.is_none_or(|since| pod.created().is_some_and(|at| at >= since))
    };
    let failed: Vec<&Pod<'_>> = revision.pods.iter().filter(fresh).collect();
    let pod = failed.get(1)?;
    let reason = match text(pod.value, "/status/reason") {
        "" => "Failed",
        reason => reason,
    };
    let message = match text(pod.value, "/status/message") {
        "" => reason.to_owned(),
        message => format!("{reason}: {message}"),
    };
    let symptom = Symptom::new(CauseKind::PodsFail { message }, Certain::Now);
    Some(finding(scene, revision, pod, None, symptom))
}

/// A StatefulSet does not replace a broken pod of an older revision (kubernetes/kubernetes#67250): the
/// rollout stands still until somebody deletes it.
fn blocking_pods(scene: &Scene<'_>, revision: &Revision<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for pod in revision.older.iter().filter(|pod| !pod.is_ready()) {
        for mut finding in of_pod(scene, revision, pod) {
            finding.certain = Certain::AtDeadline;
            finding.cause.hints.push(format!(
                "Pod/{} is of an older revision and blocks the newer one; delete it",
                pod.name()
            ));
            found.push(finding);
        }
    }
    found
}

fn finding(
    scene: &Scene<'_>,
    revision: &Revision<'_>,
    pod: &Pod<'_>,
    container: Option<&Container<'_>>,
    symptom: Symptom,
) -> Finding {
    let owner = revision.replica_set.filter(|set| pod.is_owned_by(set));
    let objects = [
        Some(scene.expectation.workload.clone()),
        owner.and_then(ObjectRef::of),
        pod.reference(),
        symptom.subject,
    ];
    Finding {
        cause: Cause {
            service: scene.expectation.service.clone(),
            kind: symptom.kind,
            chain: objects.into_iter().flatten().collect(),
            container: container.map(|container| container.name.to_owned()),
            event: symptom.event,
            log_tail: Vec::new(),
            pointer: symptom.pointer,
            hints: Vec::new(),
        },
        certain: symptom.certain,
    }
}
