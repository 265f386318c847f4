//! Objects for tests, in the shapes that a v1.20 cluster shows.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::observed::{Observed, text};

/// When everything in the tests begins.
pub(crate) const START: &str = "2026-11-21T04:00:00Z";

/// `START` and so many seconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = START.parse().unwrap();
    start + jiff::SignedDuration::from_secs(seconds)
}

/// A snapshot taken at `START`.
pub(crate) fn observe(objects: impl IntoIterator<Item = Value>) -> Observed {
    let (events, objects): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .map(Arc::new)
        .partition(|object| object["kind"] == "Event");
    Observed {
        objects,
        events,
        pod_gone: None,
        now: at(0),
    }
}

fn workload(kind: &str, name: &str, replicas: u64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("{name}-uid"), "generation": 1,
            "creationTimestamp": START,
            "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop"},
        },
        "spec": {
            "replicas": replicas,
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/name": name}},
                "spec": {"containers": [{"name": "main", "image": format!("{name}:1")}]},
            },
        },
        "status": {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas},
    })
}

/// A Deployment that its controller has seen and whose pods are not ready.
pub(crate) fn deployment(name: &str, replicas: u64) -> Value {
    workload("Deployment", name, replicas)
}

/// A StatefulSet that its controller has seen and whose pods are not ready.
pub(crate) fn stateful_set(name: &str, replicas: u64) -> Value {
    let mut set = workload("StatefulSet", name, replicas);
    set["status"]["updateRevision"] = json!(format!("{name}-1"));
    set["status"]["currentRevision"] = json!(format!("{name}-1"));
    set
}

fn owned(api_version: &str, kind: &str, name: &str, owner: &Value) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("{name}-uid"), "creationTimestamp": START, "labels": {},
            "ownerReferences": [{"controller": true, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}],
        },
    })
}

/// The ReplicaSet of a Deployment's template.
pub(crate) fn replica_set(deployment: &Value, name: &str) -> Value {
    let mut set = owned("apps/v1", "ReplicaSet", name, deployment);
    set["spec"]["template"] = deployment["spec"]["template"].clone();
    set["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] = json!("7c9");
    set
}

/// A scheduled pod with one container `main` whose image is about to be fetched.
pub(crate) fn pod(owner: &Value, name: &str) -> Value {
    let mut pod = owned("v1", "Pod", name, owner);
    pod["spec"] = owner
        .pointer("/spec/template/spec")
        .cloned()
        .unwrap_or_else(|| json!({"containers": [{"name": "main"}]}));
    pod["spec"]["nodeName"] = json!("node-1");
    pod["status"] = json!({
        "phase": "Pending",
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "lastTransitionTime": START},
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": START},
        ],
    });
    with_state(pod, json!({"waiting": {"reason": "ContainerCreating"}}))
}

/// The pod with its container in another state.
pub(crate) fn with_state(pod: Value, state: Value) -> Value {
    with_status(
        pod,
        json!({"state": state, "lastState": {}, "restartCount": 0, "ready": false}),
    )
}

/// The pod with another status of its container.
pub(crate) fn with_status(mut pod: Value, mut status: Value) -> Value {
    status["name"] = json!("main");
    pod["status"]["containerStatuses"] = json!([status]);
    pod
}

/// The pod after `runs` runs that ended with `end`, between two runs.
pub(crate) fn crashed(pod: Value, runs: u64, end: Value) -> Value {
    with_status(
        pod,
        json!({
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}},
            "lastState": {"terminated": end}, "restartCount": runs - 1, "ready": false,
        }),
    )
}

/// The pod, not scheduled.
pub(crate) fn unscheduled(mut pod: Value, message: &str) -> Value {
    pod["spec"].as_object_mut().unwrap().remove("nodeName");
    pod["status"] = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message, "lastTransitionTime": START},
    ]});
    pod
}

/// The pod, running and ready since `START`.
pub(crate) fn ready(pod: Value) -> Value {
    let mut pod = with_status(
        pod,
        json!({"state": {"running": {"startedAt": START}}, "lastState": {}, "restartCount": 0, "ready": true, "started": true}),
    );
    pod["status"]["phase"] = json!("Running");
    pod["status"]["conditions"][0] =
        json!({"type": "Ready", "status": "True", "lastTransitionTime": START});
    pod
}

/// An event about an object, and about its container `main` where the object is a pod.
pub(crate) fn event(object: &Value, reason: &str, message: &str, count: u64, last: i64) -> Value {
    let path = if object["kind"] == "Pod" {
        "spec.containers{main}"
    } else {
        ""
    };
    json!({
        "apiVersion": "v1", "kind": "Event", "reason": reason, "message": message, "count": count,
        "firstTimestamp": START, "lastTimestamp": at(last).to_string(),
        "involvedObject": {
            "kind": object["kind"], "name": text(object, "/metadata/name"), "uid": text(object, "/metadata/uid"),
            "fieldPath": path,
        },
    })
}
