//! Which objects belong to a stack: those in its namespace that carry its labels.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use k8s_model::ObjectRef;
use serde_json::Value;

use crate::stack::{Namespace, StackName};

use super::discovery::Resource;
use super::error::{ObjectError, Reason};
use super::objects::Objects;

/// Label of every object of a stack.
pub(crate) const PART_OF: &str = "app.kubernetes.io/part-of";
/// Label of every object that this program makes.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub(crate) const STACKCTL: &str = "stackctl";
/// Label with the name of the environment.
pub(crate) const INSTANCE: &str = "app.kubernetes.io/instance";
/// Lists that run at a time.
const CONCURRENCY: usize = 16;

/// An object that carries the labels of a stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    /// Which.
    pub reference: ObjectRef,
    /// The object as the server has it.
    pub live: Value,
}

impl Owned {
    /// Its UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.live["metadata"]["uid"].as_str().unwrap_or_default()
    }

    /// The value of one of its labels.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.live["metadata"]["labels"][name].as_str()
    }

    /// Whether it was made by this program.
    pub(crate) fn is_managed(&self) -> bool {
        self.label(MANAGED_BY) == Some(STACKCTL)
    }
}

/// Name of the Lease that is the lock of a stack.
#[must_use]
pub fn lease_name(stack: &StackName) -> String {
    format!("stackctl-{stack}")
}

/// Name of the Secret that keeps generated values.
#[must_use]
pub fn generated_secret_name(stack: &StackName) -> String {
    format!("{stack}-generated")
}

/// Whether the object is the lock or the generated values of a stack: part of no manifest, never pruned.
#[must_use]
pub fn is_bookkeeping(reference: &ObjectRef, stack: &StackName) -> bool {
    match reference.gvk.kind.as_str() {
        "Lease" => reference.name == lease_name(stack),
        "Secret" => reference.name == generated_secret_name(stack),
        _ => false,
    }
}

/// Every object with the stack's labels in its namespace, over the namespaced kinds that were discovered
/// (see [`super::discover_all`]), once each; without what controllers made for others and without the
/// bookkeeping. Kinds that the user may not list are left out.
pub async fn owned(
    objects: &Objects,
    stack: &StackName,
    namespace: &Namespace,
) -> Result<Vec<Owned>, ObjectError> {
    let selector = format!("{PART_OF}={stack},{MANAGED_BY}={STACKCTL}");
    let mut found = labelled(objects, namespace, &selector).await?;
    found.retain(|object| !is_bookkeeping(&object.reference, stack));
    Ok(found)
}

/// As [`owned`], for any selector and with the bookkeeping.
pub(crate) async fn labelled(
    objects: &Objects,
    namespace: &Namespace,
    selector: &str,
) -> Result<Vec<Owned>, ObjectError> {
    let kinds = objects.kinds().iter().filter(|kind| is_listed(kind));
    let lists: Vec<Vec<Value>> = stream::iter(kinds)
        .map(|kind| list(objects, kind, namespace, selector))
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    let mut seen = BTreeSet::new();
    Ok(lists
        .into_iter()
        .flatten()
        .filter(|object| !is_made_by_a_controller(object))
        .filter_map(|live| {
            let reference = ObjectRef::of(&live)?;
            Some(Owned { reference, live })
        })
        // One object may be served by two groups, such as Ingress on older clusters.
        .filter(|object| seen.insert(object.uid().to_owned()))
        .collect())
}

async fn list(
    objects: &Objects,
    kind: &Resource,
    namespace: &Namespace,
    selector: &str,
) -> Result<Vec<Value>, ObjectError> {
    match objects.list(kind, Some(namespace.as_str()), selector).await {
        Err(error) if matches!(error.reason, Reason::Forbidden(_) | Reason::NotServed(_)) => {
            tracing::debug!(%error, "a kind is left out");
            Ok(Vec::new())
        }
        Err(error) if matches!(error.reason, Reason::NotFound) => Ok(Vec::new()),
        outcome => outcome,
    }
}

/// Endpoints copy the labels of their Service without an owner reference; events are no state.
fn is_listed(kind: &Resource) -> bool {
    const DERIVED: [&str; 3] = ["Endpoints", "EndpointSlice", "Event"];
    kind.namespaced
        && kind.can("list")
        && kind.can("delete")
        && !DERIVED.contains(&kind.gvk.kind.as_str())
}

fn is_made_by_a_controller(object: &Value) -> bool {
    object["metadata"]["ownerReferences"]
        .as_array()
        .is_some_and(|owners| owners.iter().any(|owner| owner["controller"] == true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_support::kubernetes::Kubernetes;

    use super::*;
    use crate::cluster::discovery::discover_all;

    fn object(kind: &str, name: &str, labels: Value) -> Value {
        let version = if kind == "Lease" {
            "coordination.k8s.io/v1"
        } else {
            "v1"
        };
        json!({"apiVersion": version, "kind": kind,
               "metadata": {"name": name, "namespace": "shop", "labels": labels}})
    }

    #[tokio::test]
    async fn only_what_carries_both_labels_and_is_not_derived_is_owned() {
        let kubernetes = Kubernetes::new();
        let ours = json!({PART_OF: "shop", MANAGED_BY: STACKCTL});
        kubernetes.insert(&object("ConfigMap", "web", ours.clone()));
        kubernetes.insert(&object(
            "ConfigMap",
            "other-stack",
            json!({PART_OF: "x", MANAGED_BY: STACKCTL}),
        ));
        kubernetes.insert(&object(
            "ConfigMap",
            "other-tool",
            json!({PART_OF: "shop", MANAGED_BY: "Helm"}),
        ));
        kubernetes.insert(&object("Endpoints", "web", ours.clone()));
        kubernetes.insert(&object("Secret", "shop-generated", ours.clone()));
        kubernetes.insert(&object("Lease", "stackctl-shop", ours.clone()));
        let mut pod = object("Pod", "web-1", ours);
        pod["metadata"]["ownerReferences"] = json!([{"controller": true, "kind": "ReplicaSet"}]);
        kubernetes.insert(&pod);

        let client = kubernetes.client();
        let kinds = discover_all(&client).await.unwrap();
        let objects = Objects::new(client, kinds);
        let (stack, namespace) = ("shop".parse().unwrap(), "shop".parse().unwrap());
        let found = owned(&objects, &stack, &namespace).await.unwrap();
        let names: Vec<String> = found
            .iter()
            .map(|object| object.reference.to_string())
            .collect();
        assert_eq!(names, ["ConfigMap/web"]);
    }
}
