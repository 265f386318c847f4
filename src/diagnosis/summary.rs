//! How a whole stack is, at one moment and without waiting: what `status` shows.

use std::time::Duration;

use jiff::Timestamp;
use k8s_model::ObjectRef;
use serde_json::Value;

use super::cause::Cause;
use super::deadline::desired;
use super::observed::{Observed, text, time};
use super::revision;
use super::verdict::{Expectation, Verdict, diagnose};
use crate::readiness::{Reason, count};
use crate::stack::ServiceName;

/// The kinds that run services.
const WORKLOADS: [&str; 4] = ["Deployment", "StatefulSet", "DaemonSet", "Job"];

/// One workload of the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// The service it belongs to.
    pub service: ServiceName,
    /// The workload.
    pub workload: ObjectRef,
    /// Pods that are ready, or for a Job the runs that succeeded.
    pub ready: usize,
    /// Pods that there should be.
    pub desired: usize,
    /// The image of its first container.
    pub image: Option<String>,
    /// When its newest pod was created.
    pub started: Option<Timestamp>,
    /// How often containers of its pods were restarted.
    pub restarts: u64,
    /// How it is.
    pub state: ServiceState,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// As it should be.
    Ready,
    /// Not ready, and it may become so.
    Waiting(Reason),
    /// Not ready, and this is why.
    Broken(Box<Cause>),
}

/// All workloads of services, by service. `ready_within` is asked for each service; workloads that do not
/// carry the name of one (label `app.kubernetes.io/name`) are no services of a stack and left out.
#[must_use]
pub fn summary(
    observed: &Observed,
    ready_within: impl Fn(&ServiceName) -> Duration,
) -> Vec<ServiceStatus> {
    let mut all: Vec<ServiceStatus> = WORKLOADS
        .iter()
        .flat_map(|kind| observed.of_kind(kind))
        .filter_map(|workload| status(observed, workload, &ready_within))
        .collect();
    all.sort_by(|a, b| (&a.service, &a.workload).cmp(&(&b.service, &b.workload)));
    all
}

fn status(
    observed: &Observed,
    workload: &Value,
    ready_within: impl Fn(&ServiceName) -> Duration,
) -> Option<ServiceStatus> {
    let labels = workload.pointer("/metadata/labels")?;
    let service: ServiceName = labels
        .get("app.kubernetes.io/name")?
        .as_str()?
        .parse()
        .ok()?;
    let expectation = Expectation {
        ready_within: ready_within(&service),
        service: service.clone(),
        workload: ObjectRef::of(workload)?,
        since: None,
    };
    let revision = revision::of(observed, workload);
    let containers = revision.pods.iter().flat_map(|pod| pod.containers());
    let ready = match text(workload, "/kind") {
        "DaemonSet" => count(workload, "/status/numberReady"),
        "Job" => count(workload, "/status/succeeded"),
        _ => count(workload, "/status/readyReplicas"),
    };
    let image = text(workload, "/spec/template/spec/containers/0/image");
    Some(ServiceStatus {
        service,
        ready: usize::try_from(ready).unwrap_or(0),
        desired: desired(workload),
        image: (!image.is_empty()).then(|| image.to_owned()),
        started: revision
            .pods
            .iter()
            .filter_map(|pod| pod.created())
            .max()
            .or_else(|| time(workload, "/metadata/creationTimestamp")),
        restarts: containers.map(|container| container.restarts()).sum(),
        state: match diagnose(observed, &expectation) {
            Verdict::Ready => ServiceState::Ready,
            Verdict::Waiting { reason, .. } | Verdict::TimedOut { reason } => {
                ServiceState::Waiting(reason)
            }
            Verdict::Broken(cause) => ServiceState::Broken(cause),
        },
        workload: expectation.workload,
    })
}
