//! The annotation that rolls pods when the configuration they read at their start has changed.

use std::collections::{BTreeMap, BTreeSet};

use k8s_model::pointer::child;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::diagnostic::Diagnostic;

use super::labels::set_all;
use super::object::Object;
use super::pod::Pod;
use super::references::{Referenced, references};

/// The annotation of pod templates that changes with the ConfigMaps a pod reads at its start.
pub const CONFIG_DIGEST: &str = "stackctl.dev/config-digest";

/// The contents of the stack's ConfigMaps, by name.
pub(super) fn configs(objects: &[Object]) -> BTreeMap<String, Value> {
    objects
        .iter()
        .map(|object| (object.reference(), object))
        .filter(|(reference, _)| {
            reference.gvk.group.is_empty() && reference.gvk.kind == "ConfigMap"
        })
        .map(|(reference, object)| {
            let part = |field: &str| object.value.get(field).cloned().unwrap_or(json!({}));
            let content = json!({"data": part("data"), "binaryData": part("binaryData")});
            (reference.name, content)
        })
        .collect()
}

/// Only where a changed template rolls pods: that of a Job cannot be changed, and a CronJob reads the
/// configuration anew with every run.
pub(super) fn set_config_digest(
    object: &mut Object,
    configs: &BTreeMap<String, Value>,
    problems: &mut Vec<Diagnostic>,
) {
    let gvk = object.reference().gvk;
    if !matches!(
        gvk.kind.as_str(),
        "Deployment" | "StatefulSet" | "DaemonSet"
    ) {
        return;
    }
    let Some(pod) = Pod::of(object) else {
        return;
    };
    let used: BTreeSet<String> = references(&pod)
        .into_iter()
        .filter(|reference| reference.kind == Referenced::ConfigMap)
        .map(|reference| reference.name.to_owned())
        .collect();
    let contents: BTreeMap<&str, &Value> = used
        .iter()
        .filter_map(|name| Some((name.as_str(), configs.get(name)?)))
        .collect();
    if contents.is_empty() {
        return;
    }
    let metadata = child(pod.template, "metadata");
    let digest = [(CONFIG_DIGEST, digest(&contents))];
    set_all(object, &metadata, "annotations", &digest, problems);
}

/// The first 16 hex digits of SHA-256 over the JSON with sorted keys.
fn digest(contents: &BTreeMap<&str, &Value>) -> String {
    let canonical = json!(contents).to_string();
    Sha256::digest(canonical.as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
