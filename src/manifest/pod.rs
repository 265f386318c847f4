//! Where the pods of a workload are described.

use k8s_model::pointer::{child, item};
use k8s_model::selector::{self, Labels};
use k8s_model::{Gvk, ObjectRef};
use serde_json::Value;

use super::object::Object;

/// The description of pods in an object.
#[derive(Clone, Debug)]
pub(crate) struct Pod<'a> {
    /// The object.
    pub(crate) object: &'a Object,
    /// Pointer of the pod template; empty where the object is a Pod.
    pub(crate) template: &'static str,
    /// Pointer of the pod's `spec`.
    pub(crate) pointer: String,
    /// The pod's `spec`.
    pub(crate) spec: &'a Value,
}

/// The kinds with pods: group, kind, pointer of the pod template.
const TEMPLATES: [(&str, &str, &str); 9] = [
    ("", "Pod", ""),
    ("", "ReplicationController", "/spec/template"),
    ("apps", "DaemonSet", "/spec/template"),
    ("apps", "Deployment", "/spec/template"),
    ("apps", "ReplicaSet", "/spec/template"),
    ("apps", "StatefulSet", "/spec/template"),
    ("batch", "CronJob", "/spec/jobTemplate/spec/template"),
    ("batch", "Job", "/spec/template"),
    ("extensions", "Deployment", "/spec/template"),
];

/// The pointer of the pod template in objects of a kind; none for kinds without pods.
pub(crate) fn template_pointer(gvk: &Gvk) -> Option<&'static str> {
    TEMPLATES
        .iter()
        .find(|(group, kind, _)| *group == gvk.group && *kind == gvk.kind)
        .map(|(_, _, pointer)| *pointer)
}

impl<'a> Pod<'a> {
    /// The pods that `object` describes.
    pub(crate) fn of(object: &'a Object) -> Option<Self> {
        let template = template_pointer(&ObjectRef::of(&object.value)?.gvk)?;
        let pointer = child(template, "spec");
        let spec = object
            .value
            .pointer(&pointer)
            .filter(|spec| spec.is_object())?;
        Some(Self {
            object,
            template,
            pointer,
            spec,
        })
    }

    /// The pod's labels.
    pub(crate) fn labels(&self) -> Labels<'a> {
        selector::labels(self.object.value.pointer(&child(self.template, "metadata")))
    }

    /// All containers with their pointers, init containers first.
    pub(crate) fn containers(&self) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
        let (pointer, spec) = (self.pointer.clone(), self.spec);
        ["initContainers", "containers"]
            .into_iter()
            .flat_map(move |field| items(spec, &pointer, field))
    }
}

/// The items of the list `field` of `parent` with their pointers; nothing where there is no list.
pub(crate) fn items<'a>(
    parent: &'a Value,
    pointer: &str,
    field: &str,
) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
    let pointer = child(pointer, field);
    parent
        .get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
        .map(move |(index, value)| (item(&pointer, index), value))
}
