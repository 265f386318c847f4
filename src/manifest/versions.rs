//! Objects in the versions that a cluster serves: templates are written for the newest Kubernetes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_model::Gvk;
use k8s_model::pointer::path;
use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic};

use super::kinds;
use super::object::Object;
use super::pod::items;

/// The cluster does not serve a kind in any version that the object can be written in.
const NOT_SERVED: Code = Code::new("S0340");
/// The older version does not have a field, or takes it for something else.
const NOT_EXPRESSIBLE: Code = Code::new("S0341");

/// The API versions that a cluster serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served(BTreeMap<(String, String), Option<BTreeSet<String>>>);

impl Served {
    /// Adds a group (empty for the core one) and version; `kinds` are all kinds it holds, none where
    /// that is not known.
    pub fn insert(&mut self, group: &str, version: &str, kinds: Option<BTreeSet<String>>) {
        self.0.insert((group.to_owned(), version.to_owned()), kinds);
    }

    /// What Kubernetes 1.`minor` serves of the kinds that stackctl knows.
    #[must_use]
    pub fn kubernetes(minor: u32) -> Self {
        let mut served = Self::default();
        for entry in kinds::HISTORY {
            if entry.from > minor || entry.until.is_some_and(|until| until <= minor) {
                continue;
            }
            let Gvk { group, version, .. } = Gvk::new(entry.api_version, "");
            let kinds = served
                .0
                .entry((group, version))
                .or_insert_with(|| Some(BTreeSet::new()));
            kinds
                .get_or_insert_default()
                .extend(entry.kinds.iter().map(|kind| (*kind).to_owned()));
        }
        served
    }

    /// Whether the cluster serves a kind in a version.
    #[must_use]
    pub fn serves(&self, gvk: &Gvk) -> bool {
        self.0
            .get(&(gvk.group.clone(), gvk.version.clone()))
            .is_some_and(|kinds| kinds.as_ref().is_none_or(|kinds| kinds.contains(&gvk.kind)))
    }

    /// The versions in which a kind of a group is served.
    fn versions_of(&self, gvk: &Gvk) -> Vec<String> {
        self.0
            .keys()
            .filter(|(group, _)| *group == gvk.group)
            .map(|(_, version)| Gvk {
                version: version.clone(),
                ..gvk.clone()
            })
            .filter(|candidate| self.serves(candidate))
            .map(|candidate| candidate.api_version())
            .collect()
    }
}

/// An older version that has the same shape, but for what `obstacles` finds.
struct Older {
    group: &'static str,
    kind: &'static str,
    from: &'static str,
    to: &'static str,
    /// Pointers of what the older version cannot say, each with the reason.
    obstacles: fn(&Value) -> Vec<(String, &'static str)>,
}

const OLDER: [Older; 5] = [
    Older {
        group: "policy",
        kind: "PodDisruptionBudget",
        from: "v1",
        to: "v1beta1",
        obstacles: |value| {
            let all_pods = value
                .pointer("/spec/selector")
                .is_some_and(is_empty_selector);
            let mut found = fields(value, &[("/spec/unhealthyPodEvictionPolicy", NO_FIELD)]);
            if all_pods {
                found.push((
                    "/spec/selector".to_owned(),
                    "an empty selector selects no pod there",
                ));
            }
            found
        },
    },
    Older {
        group: "batch",
        kind: "CronJob",
        from: "v1",
        to: "v1beta1",
        obstacles: |value| fields(value, &[("/spec/timeZone", NO_FIELD)]),
    },
    Older {
        group: "autoscaling",
        kind: "HorizontalPodAutoscaler",
        from: "v2",
        to: "v2beta2",
        obstacles: |value| {
            fields(
                value,
                &[
                    ("/spec/behavior/scaleUp/tolerance", NO_FIELD),
                    ("/spec/behavior/scaleDown/tolerance", NO_FIELD),
                ],
            )
        },
    },
    Older {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        from: "v1",
        to: "v1beta1",
        obstacles: |value| {
            items(value, "", "endpoints")
                .flat_map(|(pointer, endpoint)| {
                    ["zone", "deprecatedTopology"]
                        .into_iter()
                        .filter(|field| endpoint.get(*field).is_some_and(|value| !value.is_null()))
                        .map(|field| (format!("{pointer}/{field}"), NO_FIELD))
                        .collect::<Vec<_>>()
                })
                .collect()
        },
    },
    Older {
        group: "node.k8s.io",
        kind: "RuntimeClass",
        from: "v1",
        to: "v1beta1",
        obstacles: |_| Vec::new(),
    },
];
const NO_FIELD: &str = "it has no such field";

/// The object in the version that the cluster serves: as it is where possible, else in an older one. What
/// stackctl does not know, such as custom resources, stays as it is.
pub fn adapt(object: Object, served: &Served) -> Result<Object, Diagnostic> {
    let gvk = object.reference().gvk;
    if served.serves(&gvk) || kinds::find(&gvk).is_none() {
        return Ok(object);
    }
    let older = OLDER.iter().find(|older| {
        let same =
            (older.group, older.kind, older.from) == (&*gvk.group, &*gvk.kind, &*gvk.version);
        same && served.serves(&Gvk {
            version: older.to.to_owned(),
            ..gvk.clone()
        })
    });
    let Some(older) = older else {
        return Err(not_served(&object, &gvk, served));
    };
    let version = Gvk {
        version: older.to.to_owned(),
        ..gvk.clone()
    }
    .api_version();
    if let Some((pointer, reason)) = (older.obstacles)(&object.value).into_iter().next() {
        let message = format!(
            "the cluster serves {} only as {version}, which cannot express `{}` of {}: {reason}",
            gvk.kind,
            path(&pointer, &object.value),
            object.reference()
        );
        return Err(object
            .error(NOT_EXPRESSIBLE, &pointer, message)
            .hint("leave it out, or use a newer cluster"));
    }
    let mut adapted = object;
    adapted.value["apiVersion"] = version.into();
    Ok(adapted)
}

fn not_served(object: &Object, gvk: &Gvk, served: &Served) -> Diagnostic {
    let message = format!(
        "{} is a {gvk}, which the cluster does not serve",
        object.reference()
    );
    let problem = object.error(NOT_SERVED, "/apiVersion", message);
    let versions = served.versions_of(gvk);
    if versions.is_empty() {
        problem.note(format!(
            "it serves no {} in the group `{}` at all",
            gvk.kind, gvk.group
        ))
    } else {
        problem.note(format!("it serves {} as {}", gvk.kind, versions.join(", ")))
    }
}

/// Those of the fields that are set.
fn fields(value: &Value, pointers: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    pointers
        .iter()
        .filter(|(pointer, _)| value.pointer(pointer).is_some_and(|value| !value.is_null()))
        .map(|(pointer, reason)| ((*pointer).to_owned(), *reason))
        .collect()
}

fn is_empty_selector(selector: &Value) -> bool {
    ["matchLabels", "matchExpressions"]
        .into_iter()
        .all(|field| match selector.get(field) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::sample::object;

    fn adapted(
        minor: u32,
        api_version: &str,
        kind: &str,
        spec: Value,
    ) -> Result<Value, Diagnostic> {
        let value = json!({
            "apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}, "spec": spec,
        });
        adapt(object("web", value), &Served::kubernetes(minor)).map(|object| object.value)
    }

    #[test]
    fn objects_go_down_to_what_the_cluster_serves() {
        for (minor, api_version, kind, expected) in [
            (20, "policy/v1", "PodDisruptionBudget", "policy/v1beta1"),
            (21, "policy/v1", "PodDisruptionBudget", "policy/v1"),
            (20, "batch/v1", "CronJob", "batch/v1beta1"),
            (20, "batch/v1", "Job", "batch/v1"),
            (25, "batch/v1", "CronJob", "batch/v1"),
            (
                20,
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                "autoscaling/v2beta2",
            ),
            (
                23,
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                "autoscaling/v2",
            ),
            (
                20,
                "networking.k8s.io/v1",
                "Ingress",
                "networking.k8s.io/v1",
            ),
            (
                20,
                "discovery.k8s.io/v1",
                "EndpointSlice",
                "discovery.k8s.io/v1beta1",
            ),
            (19, "node.k8s.io/v1", "RuntimeClass", "node.k8s.io/v1beta1"),
            (20, "apps/v1", "Deployment", "apps/v1"),
            (20, "example.com/v1", "Widget", "example.com/v1"),
        ] {
            let value = adapted(minor, api_version, kind, json!({"keep": "me"})).unwrap();
            assert_eq!(value["apiVersion"], expected, "1.{minor} {kind}");
            assert_eq!(value["spec"], json!({"keep": "me"}), "1.{minor} {kind}");
        }
    }

    #[test]
    fn what_an_older_version_cannot_say_is_refused() {
        for (api_version, kind, spec, words) in [
            (
                "policy/v1",
                "PodDisruptionBudget",
                json!({"selector": {}}),
                "only as policy/v1beta1, which cannot express `spec.selector` of PodDisruptionBudget/web: an empty selector selects no pod there",
            ),
            (
                "policy/v1",
                "PodDisruptionBudget",
                json!({"unhealthyPodEvictionPolicy": "AlwaysAllow"}),
                "`spec.unhealthyPodEvictionPolicy`",
            ),
            (
                "batch/v1",
                "CronJob",
                json!({"timeZone": "Etc/UTC"}),
                "`spec.timeZone`",
            ),
            (
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                json!({"behavior": {"scaleUp": {"tolerance": "0.1"}}}),
                "`spec.behavior.scaleUp.tolerance`",
            ),
        ] {
            let problem = adapted(20, api_version, kind, spec).unwrap_err();
            assert_eq!(problem.code.as_str(), "S0341");
            assert!(problem.message.contains(words), "{}", problem.message);
        }
    }

    #[test]
    fn what_is_not_served_is_named_with_what_is() {
        let problem = adapted(18, "networking.k8s.io/v1", "Ingress", json!({})).unwrap_err();
        assert_eq!(problem.code.as_str(), "S0340");
        assert_eq!(
            problem.message,
            "Ingress/web is a networking.k8s.io/v1 Ingress, which the cluster does not serve"
        );
        assert_eq!(
            problem.notes,
            ["it serves Ingress as networking.k8s.io/v1beta1"]
        );
        let problem = adapted(
            20,
            "admissionregistration.k8s.io/v1",
            "ValidatingAdmissionPolicy",
            json!({}),
        )
        .unwrap_err();
        assert_eq!(
            problem.notes,
            [
                "it serves no ValidatingAdmissionPolicy in the group `admissionregistration.k8s.io` at all"
            ]
        );
    }

    #[test]
    fn a_version_whose_kinds_are_not_known_counts_for_all() {
        let mut served = Served::default();
        served.insert("batch", "v1", None);
        assert!(served.serves(&Gvk::new("batch/v1", "CronJob")));
        served.insert("batch", "v1", Some(BTreeSet::from(["Job".to_owned()])));
        assert!(!served.serves(&Gvk::new("batch/v1", "CronJob")));
        assert!(!served.serves(&Gvk::new("v1", "Pod")));
    }
}
