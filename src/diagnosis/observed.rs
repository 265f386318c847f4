//! What was seen of a stack's namespace at one moment.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_model::ObjectRef;
use serde_json::Value;

use super::pod::Pod;

/// A snapshot; cheap to clone.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Workloads, ReplicaSets, Pods and PersistentVolumeClaims, with `apiVersion` and `kind`.
    pub objects: Vec<Arc<Value>>,
    /// The namespace's events (core/v1).
    pub events: Vec<Arc<Value>>,
    /// When a pod of the stack last went away: what it held is free from then on.
    pub pod_gone: Option<Timestamp>,
    /// The cluster's time.
    pub now: Timestamp,
}

impl Observed {
    /// The object of this group, kind and name; the namespace is the snapshot's.
    #[must_use]
    pub fn find(&self, reference: &ObjectRef) -> Option<&Value> {
        self.of_kind(&reference.gvk.kind).find(|object| {
            ObjectRef::of(object).is_some_and(|found| {
                found.name == reference.name && found.gvk.group == reference.gvk.group
            })
        })
    }

    /// All objects of a kind.
    pub(super) fn of_kind<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Value> {
        self.objects
            .iter()
            .map(AsRef::as_ref)
            .filter(move |object: &&Value| object.get("kind").and_then(Value::as_str) == Some(kind))
    }

    /// All pods, by name.
    pub(super) fn pods(&self) -> Vec<Pod<'_>> {
        let mut pods: Vec<Pod<'_>> = self.of_kind("Pod").map(Pod::new).collect();
        pods.sort_by_key(|pod| pod.name());
        pods
    }

    /// Whether a pod is on its way out: it still holds CPU, quota and volumes that others may wait for.
    pub(super) fn pod_is_leaving(&self) -> bool {
        self.of_kind("Pod").any(|pod| Pod::new(pod).is_leaving())
    }
}

/// The text at a JSON pointer; empty where there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The time at a JSON pointer.
pub(super) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).parse().ok()
}

/// The elements at a JSON pointer; none where there is no list.
pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Whether `object` is controlled by `owner`.
pub(super) fn is_owned_by(object: &Value, owner: &Value) -> bool {
    let uid = text(owner, "/metadata/uid");
    !uid.is_empty()
        && list(object, "/metadata/ownerReferences")
            .iter()
            .any(|reference| text(reference, "/uid") == uid)
}
