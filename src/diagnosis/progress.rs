//! What a workload that is not ready is doing right now, in a few words.

use super::event::about;
use super::observed::{Observed, text};
use super::pod::{Pod, State};
use super::revision::Revision;

/// The first pod that is not ready tells; none where all are.
pub(super) fn doing(observed: &Observed, revision: &Revision<'_>) -> Option<String> {
    if revision.pods.is_empty() {
        return Some("no pod yet".into());
    }
    let pod = revision.pods.iter().find(|pod| !pod.is_ready())?;
    Some(pod_doing(observed, pod))
}

fn pod_doing(observed: &Observed, pod: &Pod<'_>) -> String {
    if !pod.is_scheduled() {
        return match unbound_claim(observed, pod) {
            Some(claim) => format!("waiting for volume {claim}"),
            None => "not scheduled yet".into(),
        };
    }
    for container in pod.containers() {
        match container.state() {
            State::Running { .. } if container.init => {
                return format!("init container {} is running", container.name);
            }
            State::Ended(end) if !container.init => {
                return format!(
                    "container {} ended with exit code {}",
                    container.name, end.code
                );
            }
            State::Waiting {
                reason: "ContainerCreating" | "PodInitializing",
                ..
            }
            | State::Unknown => {
                let pulling = about(observed, pod.value)
                    .into_iter()
                    .rfind(|event| event.is_of(container.name))
                    .is_some_and(|event| event.reason == "Pulling");
                return if pulling {
                    "fetching its image"
                } else {
                    "starting"
                }
                .into();
            }
            State::Waiting { reason, .. } => return reason.into(),
            State::Running { .. } | State::Ended(_) => {}
        }
    }
    "running, not ready yet".into()
}

fn unbound_claim<'a>(observed: &Observed, pod: &Pod<'a>) -> Option<&'a str> {
    pod.claims().find(|claim| {
        observed
            .of_kind("PersistentVolumeClaim")
            .find(|found| text(found, "/metadata/name") == *claim)
            .is_none_or(|found| text(found, "/status/phase") != "Bound")
    })
}
