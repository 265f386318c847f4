//! Pods that no node takes.

use std::time::Duration;

use serde_json::Value;

use super::super::cause::CauseKind;
use super::super::deadline::later;
use super::super::event::about;
use super::super::observed::{list, text};
use super::super::pod::Pod;
use super::{Certain, Scene, Symptom, pointer};
use crate::readiness::condition;

/// The scheduler has looked at all nodes; the rest is for caches that lag.
const UNSCHEDULABLE: Duration = Duration::from_secs(5);

/// Nodes of a cluster that has just been started join within this time.
const NODES_STARTING: Duration = Duration::from_secs(60);

/// A pod the scheduler has turned down, unless a volume, a leaving pod or a new node can still change that.
pub(super) fn unschedulable(scene: &Scene<'_>, pod: &Pod<'_>) -> Option<Symptom> {
    let scheduled = condition(pod.value, "PodScheduled")?;
    if scheduled.holds
        || scheduled.reason != "Unschedulable"
        || waits_for_volume(scene, pod, scheduled.message)
    {
        return None;
    }
    let message = scheduled.message.to_owned();
    let pointer = field_behind(scene.workload, &message);
    let begin = scheduled
        .since
        .or(pod.created())
        .max(scene.expectation.since)
        .max(scene.observed.pod_gone);
    let certain = match begin {
        _ if scene.observed.pod_is_leaving() || node_is_coming(scene, pod) => Certain::AtDeadline,
        Some(begin) if nodes_are_starting(&message) => Certain::At(later(begin, NODES_STARTING)),
        Some(begin) => Certain::At(later(begin, UNSCHEDULABLE)),
        None => Certain::AtDeadline,
    };
    let kind = CauseKind::Unschedulable { message };
    Some(Symptom::new(kind, certain).behind(pointer))
}

fn waits_for_volume(scene: &Scene<'_>, pod: &Pod<'_>, message: &str) -> bool {
    // The scheduler's message outlives the binding, and comes before the claim is seen here.
    let told = [
        "PersistentVolumeClaim",
        "persistentvolumeclaim",
        "binding volumes",
    ]
    .iter()
    .any(|word| message.contains(word));
    told || pod.claims().any(|name| {
        scene
            .observed
            .of_kind("PersistentVolumeClaim")
            .find(|claim| text(claim, "/metadata/name") == name)
            .is_some_and(|claim| is_being_bound(scene, claim))
    })
}

/// A claim of a class with `volumeBindingMode: WaitForFirstConsumer` waits for the pod, not the pod for it.
fn is_being_bound(scene: &Scene<'_>, claim: &Value) -> bool {
    let events = about(scene.observed, claim);
    let waits_for_pod = events
        .last()
        .is_some_and(|event| event.reason == "WaitForFirstConsumer");
    text(claim, "/status/phase") == "Pending" && !waits_for_pod
}

/// An autoscaler has announced a node for the pod: the Cluster Autoscaler's word, then Karpenter's.
fn node_is_coming(scene: &Scene<'_>, pod: &Pod<'_>) -> bool {
    about(scene.observed, pod.value)
        .iter()
        .any(|event| matches!(event.reason, "TriggeredScaleUp" | "Nominated"))
}

fn nodes_are_starting(message: &str) -> bool {
    [
        "no nodes available",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
        "node.kubernetes.io/network-unavailable",
        "node.cloudprovider.kubernetes.io/uninitialized",
    ]
    .iter()
    .any(|word| message.contains(word))
}

/// The field of the pod template that asks for what no node has.
fn field_behind(workload: &Value, message: &str) -> Option<String> {
    let base = pointer::base(workload);
    if let Some((_, rest)) = message.split_once("Insufficient ") {
        let resource = rest.split([',', ' ']).next()?.trim_end_matches('.');
        let key = resource.replace('/', "~1");
        return list(workload, &format!("{base}/containers"))
            .iter()
            .enumerate()
            .find_map(|(index, _)| {
                pointer::existing(
                    workload,
                    format!("{base}/containers/{index}/resources/requests/{key}"),
                )
            });
    }
    let fields: &[&str] = if message.contains("affinity") || message.contains("selector") {
        &["/nodeSelector", "/affinity"]
    } else if message.contains("taint") {
        &["/tolerations"]
    } else if message.contains("topology spread") {
        &["/topologySpreadConstraints"]
    } else {
        &[]
    };
    fields
        .iter()
        .find_map(|field| pointer::existing(workload, format!("{base}{field}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_field_that_asks_too_much_is_found() {
        let workload = json!({"kind": "Deployment", "spec": {"template": {"spec": {
            "nodeSelector": {"disk": "ssd"},
            "containers": [
                {"name": "a", "resources": {"requests": {"memory": "1Gi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "500", "nvidia.com/gpu": 1}}},
            ],
        }}}});
        let field = |message: &str| field_behind(&workload, message);
        assert_eq!(
            field("0/1 nodes are available: 1 Insufficient cpu.").as_deref(),
            Some("/spec/template/spec/containers/1/resources/requests/cpu")
        );
        assert_eq!(
            field("0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3")
                .as_deref(),
            Some("/spec/template/spec/containers/1/resources/requests/nvidia.com~1gpu")
        );
        assert_eq!(
            field("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")
                .as_deref(),
            Some("/spec/template/spec/nodeSelector")
        );
        assert_eq!(field("0/1 nodes are available: 1 Insufficient pods."), None);
    }
}
