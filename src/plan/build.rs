//! The plan: what is desired against what is observed.

use std::collections::BTreeMap;

use k8s_model::ObjectRef;
use serde_json::Value;

use crate::manifest::{self, Object};
use crate::stack::ServiceName;

use super::change::{Action, Change, Plan};
use super::diff::diff;

/// What the cluster has of an object that is desired or owned.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Which object.
    pub reference: ObjectRef,
    /// As it is; none where it does not exist.
    pub live: Option<Value>,
    /// As it would be after applying (the result of a dry run on the server); none where it does not
    /// exist, is not desired, or could not be tried.
    pub applied: Option<Value>,
}

/// Compares the desired objects, in the order of [`manifest::complete`], with the observed ones: what is
/// observed and not desired is deleted. The same input gives the same plan, whatever the order of
/// `observed`.
#[must_use]
pub fn build(desired: &[Object], observed: &[Observed]) -> Plan {
    let observed: BTreeMap<Identity, &Observed> = observed
        .iter()
        .map(|observed| (identity(&observed.reference), observed))
        .collect();
    let mut desired: Vec<&Object> = desired.iter().collect();
    let services = first_appearances(&desired);
    desired.sort_by_cached_key(|object| order(object, &services));
    let mut changes: Vec<Change> = desired
        .iter()
        .map(|object| {
            change(
                object,
                observed.get(&identity(&object.reference())).copied(),
            )
        })
        .collect();
    let kept: Vec<Identity> = changes
        .iter()
        .map(|change| identity(&change.reference))
        .collect();
    changes.extend(deletions(&observed, &kept));
    Plan { changes }
}

/// An object is the same in every version of its kind.
type Identity = (String, String, Option<String>, String);

fn identity(reference: &ObjectRef) -> Identity {
    let ObjectRef {
        gvk,
        namespace,
        name,
    } = reference.clone();
    (gvk.group, gvk.kind, namespace, name)
}

fn first_appearances(desired: &[&Object]) -> BTreeMap<ServiceName, usize> {
    let mut services = BTreeMap::new();
    for service in desired.iter().filter_map(|object| object.service.as_ref()) {
        let next = services.len();
        services.entry(service.clone()).or_insert(next);
    }
    services
}

/// Namespaces and definitions of kinds before everything, then the stack as a whole, then service by
/// service.
fn order(
    object: &Object,
    services: &BTreeMap<ServiceName, usize>,
) -> (bool, Option<usize>, u8, Identity) {
    let reference = object.reference();
    let rank = manifest::rank(&reference.gvk);
    let service = object
        .service
        .as_ref()
        .and_then(|service| services.get(service).copied());
    let first = manifest::is_prerequisite(&reference.gvk);
    (
        !first,
        service.filter(|_| !first),
        rank,
        identity(&reference),
    )
}

fn change(object: &Object, observed: Option<&Observed>) -> Change {
    let live = observed.and_then(|observed| observed.live.as_ref());
    let applied = observed.and_then(|observed| observed.applied.as_ref());
    let action = match (live, applied) {
        (None, _) => Action::Create,
        (Some(_), None) => Action::Update { fields: Vec::new() },
        (Some(live), Some(applied)) => {
            let fields = diff(live, applied, Some(object));
            if fields.is_empty() {
                Action::Keep
            } else {
                Action::Update { fields }
            }
        }
    };
    Change {
        reference: object.reference(),
        service: object.service.clone(),
        action,
        desired: Some(object.clone()),
    }
}

/// In the reverse order of applying.
fn deletions(observed: &BTreeMap<Identity, &Observed>, kept: &[Identity]) -> Vec<Change> {
    let mut gone: Vec<&ObjectRef> = observed
        .iter()
        .filter(|(identity, observed)| observed.live.is_some() && !kept.contains(identity))
        .map(|(_, observed)| &observed.reference)
        .collect();
    gone.sort_by_key(|reference| {
        (
            std::cmp::Reverse(manifest::rank(&reference.gvk)),
            identity(reference),
        )
    });
    gone.into_iter()
        .map(|reference| Change {
            reference: reference.clone(),
            service: None,
            action: Action::Delete,
            desired: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::manifest::sample::object;

    fn value(api_version: &str, kind: &str, name: &str) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "shop"}})
    }

    fn config(name: &str, data: &str) -> Value {
        let mut value = value("v1", "ConfigMap", name);
        value["data"] = json!({ "key": data });
        value
    }

    fn observed(live: Option<Value>, applied: Option<Value>) -> Observed {
        let reference = ObjectRef::of(live.as_ref().or(applied.as_ref()).unwrap()).unwrap();
        Observed {
            reference,
            live,
            applied,
        }
    }

    fn shown(plan: &Plan) -> Vec<String> {
        plan.changes
            .iter()
            .map(|change| {
                let action = match &change.action {
                    Action::Create => "+".to_owned(),
                    Action::Update { fields } => format!("~{}", fields.len()),
                    Action::Delete => "-".to_owned(),
                    Action::Keep => "=".to_owned(),
                };
                format!("{action} {}", change.reference)
            })
            .collect()
    }

    #[test]
    fn each_object_gets_what_it_needs() {
        let desired: Vec<Object> = ["kept", "changed", "new", "untried"]
            .iter()
            .map(|name| object("web", config(name, "1")))
            .collect();
        let plan = build(
            &desired,
            &[
                observed(Some(config("gone", "1")), None),
                observed(Some(config("untried", "1")), None),
                observed(Some(config("changed", "0")), Some(config("changed", "1"))),
                observed(Some(config("kept", "1")), Some(config("kept", "1"))),
                observed(None, Some(config("new", "1"))),
                observed(None, Some(config("never-was", "1"))),
            ],
        );
        assert_eq!(
            shown(&plan),
            [
                "~1 ConfigMap/changed",
                "= ConfigMap/kept",
                "+ ConfigMap/new",
                "~0 ConfigMap/untried",
                "- ConfigMap/gone"
            ]
        );
        assert_eq!(plan.summary(), "1 create  2 update  1 delete  1 unchanged");
        assert!(!plan.is_empty());
        assert_eq!(build(&[], &[]).summary(), "no objects");
    }

    #[test]
    fn unchanged_objects_make_an_empty_plan() {
        let desired = [object("web", config("a", "1"))];
        let plan = build(
            &desired,
            &[observed(Some(config("a", "1")), Some(config("a", "1")))],
        );
        assert!(plan.is_empty());
        assert_eq!(plan.summary(), "1 unchanged");
    }

    #[test]
    fn changes_come_in_the_order_of_applying_and_deletions_last() {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        let desired = [
            object("db", value("apps/v1", "StatefulSet", "db")),
            object("db", value("v1", "ConfigMap", "db")),
            object("api", value("apps/v1", "Deployment", "api")),
            object(
                "api",
                value("apiextensions.k8s.io/v1", "CustomResourceDefinition", "x"),
            ),
            Object {
                service: None,
                ..object("api", namespace)
            },
        ];
        let live = |api_version, kind| observed(Some(value(api_version, kind, "old")), None);
        let plan = build(
            &desired,
            &[live("v1", "ConfigMap"), live("apps/v1", "Deployment")],
        );
        assert_eq!(
            shown(&plan),
            [
                "+ Namespace/shop",
                "+ CustomResourceDefinition/x",
                "+ ConfigMap/db",
                "+ StatefulSet/db",
                "+ Deployment/api",
                "- Deployment/old",
                "- ConfigMap/old",
            ]
        );
    }

    #[test]
    fn another_version_is_the_same_object() {
        let desired = [object(
            "web",
            value("policy/v1beta1", "PodDisruptionBudget", "web"),
        )];
        let live = value("policy/v1", "PodDisruptionBudget", "web");
        let applied = value("policy/v1beta1", "PodDisruptionBudget", "web");
        let plan = build(&desired, &[observed(Some(live), Some(applied))]);
        assert_eq!(plan.changes.len(), 1, "{:?}", shown(&plan));
    }

    proptest! {
        #[test]
        fn the_order_of_what_is_observed_does_not_matter(
            names in proptest::collection::btree_map("[a-e]", (any::<bool>(), any::<bool>()), 0..6),
            seed in any::<u64>(),
        ) {
            let desired: Vec<Object> = names
                .iter()
                .filter(|(_, (desired, _))| *desired)
                .map(|(name, _)| object("web", config(name, "1")))
                .collect();
            let mut seen: Vec<Observed> = names
                .iter()
                .map(|(name, (_, live))| {
                    observed(live.then(|| config(name, "0")), Some(config(name, "1")))
                })
                .collect();
            let first = build(&desired, &seen);
            let turn = usize::try_from(seed % 7).unwrap() % seen.len().max(1);
            seen.rotate_left(turn);
            seen.reverse();
            prop_assert_eq!(build(&desired, &seen), first);
        }
    }
}
