//! What is in the cluster, and what would come out of applying what is desired.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt};
use k8s_model::{Gvk, ObjectRef};
use serde_json::Value;

use super::error::{FieldProblem, ObjectError, ObjectErrors, Reason, Verb};
use super::objects::{ApplyOptions, Objects};
use super::status::Operation;

/// One desired object, looked up in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Which.
    pub reference: ObjectRef,
    /// As it is; none where there is none.
    pub live: Option<Value>,
    /// As it would be after applying, as the server says. None where the server cannot say: its namespace
    /// or its kind does not exist yet, or the change cannot be made in place.
    pub applied: Option<Value>,
    /// The fields that would have to change and cannot; empty where applying works.
    pub immutable: Vec<FieldProblem>,
}

/// Looks all objects up, `concurrency` at a time, in the order given. All failures are reported together.
pub async fn observe(
    objects: &Objects,
    desired: &[Value],
    force: bool,
    concurrency: usize,
) -> Result<Vec<Observed>, ObjectErrors> {
    let absent = absent_namespaces(objects, desired)
        .await
        .map_err(|error| ObjectErrors(vec![error]))?;
    let coming = kinds_defined_by(desired);
    let looked_up: Vec<Result<Observed, ObjectError>> = stream::iter(desired)
        .map(|object| look_up(objects, object, force, &absent, &coming))
        .buffered(concurrency.max(1))
        .collect()
        .await;
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for outcome in looked_up {
        match outcome {
            Ok(observed) => found.push(observed),
            Err(error) => failed.push(error),
        }
    }
    if failed.is_empty() {
        Ok(found)
    } else {
        Err(ObjectErrors(failed))
    }
}

async fn look_up(
    objects: &Objects,
    object: &Value,
    force: bool,
    absent: &BTreeSet<String>,
    coming: &BTreeSet<(String, String)>,
) -> Result<Observed, ObjectError> {
    let reference = ObjectRef::of(object).expect("objects have apiVersion, kind and a name");
    let nowhere = reference
        .namespace
        .as_ref()
        .is_some_and(|namespace| absent.contains(namespace));
    let kind = (reference.gvk.group.clone(), reference.gvk.kind.clone());
    let not_yet = objects.kinds().get(&reference.gvk).is_none() && coming.contains(&kind);
    if nowhere || not_yet {
        if objects.kinds().get(&reference.gvk).is_none() && !not_yet {
            let reason = Reason::NotServed(reference.gvk.clone());
            return Err(checking(&reference, object).because(reason));
        }
        return Ok(observed(reference, None, None, Vec::new()));
    }
    let dry_run = ApplyOptions {
        dry_run: true,
        force,
    };
    let (live, applied) = tokio::join!(objects.get(&reference), objects.apply(object, dry_run));
    match applied {
        Ok(applied) => Ok(observed(reference, live?, Some(applied), Vec::new())),
        Err(ObjectError {
            reason: Reason::Immutable(fields),
            ..
        }) => Ok(observed(reference, live?, None, fields)),
        Err(error) => Err(error),
    }
}

fn observed(
    reference: ObjectRef,
    live: Option<Value>,
    applied: Option<Value>,
    immutable: Vec<FieldProblem>,
) -> Observed {
    Observed {
        reference,
        live,
        applied,
        immutable,
    }
}

fn checking<'a>(target: &'a ObjectRef, object: &'a Value) -> Operation<'a> {
    Operation {
        verb: Verb::DryRun,
        target,
        sent: Some(object),
    }
}

/// The namespaces of the objects that do not exist: nothing can be in them.
async fn absent_namespaces(
    objects: &Objects,
    desired: &[Value],
) -> Result<BTreeSet<String>, ObjectError> {
    let names: BTreeSet<&str> = desired
        .iter()
        .filter_map(|object| object.pointer("/metadata/namespace")?.as_str())
        .collect();
    let mut absent = BTreeSet::new();
    for name in names {
        let namespace = ObjectRef {
            gvk: Gvk::new("v1", "Namespace"),
            namespace: None,
            name: name.to_owned(),
        };
        match objects.get(&namespace).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                absent.insert(name.to_owned());
            }
            // Who may not read the namespace may still work in it.
            Err(error) if matches!(error.reason, Reason::Forbidden(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(absent)
}

/// (group, kind) of the CustomResourceDefinitions among the objects.
fn kinds_defined_by(desired: &[Value]) -> BTreeSet<(String, String)> {
    desired
        .iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition")
        .filter_map(|object| {
            let text = |pointer: &str| Some(object.pointer(pointer)?.as_str()?.to_owned());
            Some((text("/spec/group")?, text("/spec/names/kind")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_support::kubernetes::{Kubernetes, Script, failure};

    use super::*;
    use crate::cluster::discovery::discover;

    async fn objects(kubernetes: &Kubernetes) -> Objects {
        let client = kubernetes.client();
        let kinds = discover(&client, &BTreeSet::from(["apps".to_owned()]))
            .await
            .unwrap();
        Objects::new(client, kinds)
    }

    fn config_map(namespace: &str, name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
               "metadata": {"name": name, "namespace": namespace}, "data": {"k": "new"}})
    }

    #[tokio::test]
    async fn live_and_applied_come_together() {
        let kubernetes = Kubernetes::new();
        let mut old = config_map("default", "a");
        old["data"] = json!({"k": "old"});
        kubernetes.insert(&old);
        let desired = [config_map("default", "a"), config_map("default", "b")];
        let found = observe(&objects(&kubernetes).await, &desired, false, 16)
            .await
            .unwrap();
        assert_eq!(found[0].live.as_ref().unwrap()["data"]["k"], "old");
        assert_eq!(found[0].applied.as_ref().unwrap()["data"]["k"], "new");
        assert_eq!(found[1].live, None);
        assert_eq!(found[1].applied.as_ref().unwrap()["data"]["k"], "new");
        assert_eq!(kubernetes.writes(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn in_a_namespace_that_does_not_exist_everything_is_absent() {
        let kubernetes = Kubernetes::new();
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        let desired = [namespace, config_map("shop", "a")];
        let found = observe(&objects(&kubernetes).await, &desired, false, 16)
            .await
            .unwrap();
        assert!(
            found[0].applied.is_some(),
            "the namespace itself can be checked"
        );
        assert_eq!((&found[1].live, &found[1].applied), (&None, &None));
    }

    #[tokio::test]
    async fn all_failures_are_reported_and_immutable_fields_are_no_failure() {
        let kubernetes = Kubernetes::new();
        let objects = objects(&kubernetes).await;
        let path = |name: &str| format!("/api/v1/namespaces/default/configmaps/{name}");
        for name in ["a", "c"] {
            let refused = failure(403, "Forbidden", "User \"bob\" cannot patch");
            kubernetes.script("PATCH", &path(name), Script::Respond(403, refused));
        }
        let immutable = failure(
            422,
            "Invalid",
            "data: Forbidden: field is immutable when `immutable` is set",
        );
        kubernetes.script("PATCH", &path("b"), Script::Respond(422, immutable));
        let desired = ["a", "b", "c"].map(|name| config_map("default", name));
        let errors = observe(&objects, &desired, false, 16).await.unwrap_err();
        let failed: Vec<&str> = errors
            .0
            .iter()
            .map(|error| error.target.name.as_str())
            .collect();
        assert_eq!(failed, ["a", "c"]);

        let immutable = failure(
            422,
            "Invalid",
            "data: Forbidden: field is immutable when `immutable` is set",
        );
        kubernetes.script("PATCH", &path("b"), Script::Respond(422, immutable));
        let found = observe(&objects, &desired[1..2], false, 16).await.unwrap();
        assert_eq!((found[0].immutable.len(), &found[0].applied), (1, &None));
    }

    #[tokio::test]
    async fn an_object_of_a_kind_that_is_being_defined_is_absent() {
        let kubernetes = Kubernetes::new();
        let objects = objects(&kubernetes).await;
        let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "default"}});
        let errors = observe(&objects, std::slice::from_ref(&widget), false, 16)
            .await
            .unwrap_err();
        assert!(
            matches!(errors.0[0].reason, Reason::NotServed(_)),
            "{errors:?}"
        );
        let definition = json!({"apiVersion": "v1", "kind": "CustomResourceDefinition", "metadata": {"name": "w"},
                                "spec": {"group": "example.com", "names": {"kind": "Widget"}}});
        assert_eq!(kinds_defined_by(&[definition]).len(), 1);
    }
}
