//! Volumes that are not made, bound or mounted.

use std::time::Duration;

use k8s_model::ObjectRef;
use serde_json::Value;

use super::super::cause::CauseKind;
use super::super::deadline::later;
use super::super::event::{Event, about};
use super::super::observed::{list, text, time};
use super::super::pod::{Container, Pod, State};
use super::{Certain, Scene, Symptom, config, pointer};

/// A default storage class may be filled in, or a volume offered by hand, a little later than the claim.
const UNCLAIMED: Duration = Duration::from_secs(15);

/// A provisioner that failed so often will fail again.
const ATTEMPTS: u64 = 3;

/// Claims of the pod that will not be bound. A claim that is only pending is none of them.
pub(super) fn claims(scene: &Scene<'_>, pod: &Pod<'_>) -> Option<Symptom> {
    pod.claims().find_map(|name| {
        let mut all = scene.observed.of_kind("PersistentVolumeClaim");
        let claim = all.find(|claim| text(claim, "/metadata/name") == name)?;
        match text(claim, "/status/phase") {
            "Pending" => pending(scene, pod, claim),
            "Lost" => Some(symptom(scene, claim, "its volume is gone", Certain::Now)),
            _ => None,
        }
    })
}

fn pending(scene: &Scene<'_>, pod: &Pod<'_>, claim: &Value) -> Option<Symptom> {
    let events = about(scene.observed, claim);
    let event = events
        .iter()
        .rfind(|event| matches!(event.reason, "ProvisioningFailed" | "FailedBinding"))?;
    let begin = time(claim, "/metadata/creationTimestamp").max(scene.expectation.since);
    let certain = if event.message.contains("storageclass") && event.message.contains("not found") {
        Certain::Now
    } else if event.reason == "FailedBinding" {
        begin.map_or(Certain::AtDeadline, |begin| {
            Certain::At(later(begin, UNCLAIMED))
        })
    } else if event.count >= ATTEMPTS {
        Certain::Now
    } else {
        Certain::AtDeadline
    };
    let certain = scene.unless_stale(pod, event.last, certain);
    Some(symptom(scene, claim, event.message, certain).told_by(Some(event)))
}

fn symptom(scene: &Scene<'_>, claim: &Value, message: &str, certain: Certain) -> Symptom {
    let name = text(claim, "/metadata/name");
    let kind = CauseKind::VolumePending {
        volume: name.to_owned(),
        message: message.to_owned(),
    };
    let templates = "/spec/volumeClaimTemplates";
    let template = list(scene.workload, templates)
        .iter()
        .position(|template| name.starts_with(&format!("{}-", text(template, "/metadata/name"))));
    let pointer = match template {
        Some(index) => {
            let class = format!("{templates}/{index}/spec/storageClassName");
            pointer::existing(scene.workload, class).or(Some(format!("{templates}/{index}")))
        }
        None => pointer::of_reference(scene.workload, &["persistentVolumeClaim"], name),
    };
    Symptom::new(kind, certain)
        .said(message)
        .behind(pointer)
        .on(ObjectRef::of(claim))
}

/// Volumes that a node cannot mount. A Secret or ConfigMap that does not exist is certain at once.
pub(super) fn mounts(scene: &Scene<'_>, pod: &Pod<'_>) -> Option<Symptom> {
    let waits = |container: Container<'_>| {
        matches!(
            container.state(),
            State::Waiting {
                reason: "ContainerCreating" | "PodInitializing",
                ..
            }
        )
    };
    if !pod.containers().any(waits) {
        return None;
    }
    let events = about(scene.observed, pod.value);
    let failed = |event: &&Event<'_>| matches!(event.reason, "FailedMount" | "FailedAttachVolume");
    // "Unable to attach or mount" only sums up what other events say in detail.
    let event = events
        .iter()
        .filter(failed)
        .rfind(|event| {
            !event.message.starts_with("Unable to") && !config::is_passing(event.message)
        })
        .or_else(|| events.iter().rfind(failed))?;
    if config::is_passing(event.message) && !event.message.starts_with("Unable to") {
        return None;
    }
    let symptom = match config::reference(event.message) {
        Some((what, keys, name)) => Symptom::new(
            CauseKind::ConfigMissing { what },
            scene.unless_stale(pod, event.last, Certain::Now),
        )
        .behind(pointer::of_reference(scene.workload, keys, name)),
        None => {
            let volume = pointer::quoted_after(event.message, "volume ").unwrap_or("of the pod");
            let message = event.message.to_owned();
            let kind = CauseKind::VolumePending {
                volume: volume.to_owned(),
                message,
            };
            Symptom::new(kind, Certain::AtDeadline)
        }
    };
    Some(symptom.told_by(Some(event)))
}
