//! Which pods belong to a workload's newest template: only those say anything about a rollout.

use serde_json::Value;

use super::observed::{Observed, is_owned_by, text, time};
use super::pod::Pod;

/// The pods of a workload, without those on their way out.
#[derive(Clone, Debug, Default)]
pub(super) struct Revision<'a> {
    /// The ReplicaSet of a Deployment's newest template.
    pub(super) replica_set: Option<&'a Value>,
    /// Pods of the newest template, by name.
    pub(super) pods: Vec<Pod<'a>>,
    /// Pods of older templates, by name.
    pub(super) older: Vec<Pod<'a>>,
}

/// Sorts a workload's pods by revision.
pub(super) fn of<'a>(observed: &'a Observed, workload: &'a Value) -> Revision<'a> {
    let pods = observed.pods().into_iter().filter(|pod| !pod.is_leaving());
    match text(workload, "/kind") {
        "Deployment" => of_deployment(observed, workload, pods),
        "StatefulSet" => split(
            pods.filter(|pod| pod.is_owned_by(workload)),
            "controller-revision-hash",
            text(workload, "/status/updateRevision"),
        ),
        "DaemonSet" => split(
            pods.filter(|pod| pod.is_owned_by(workload)),
            "pod-template-generation",
            // Its revision's hash is not in its status. Without this old counter all its pods count.
            workload
                .pointer("/metadata/annotations")
                .and_then(|all| {
                    all.get("deprecated.daemonset.template.generation")?
                        .as_str()
                })
                .unwrap_or_default(),
        ),
        _ => Revision {
            pods: pods.filter(|pod| pod.is_owned_by(workload)).collect(),
            ..Revision::default()
        },
    }
}

fn of_deployment<'a>(
    observed: &'a Observed,
    workload: &'a Value,
    pods: impl Iterator<Item = Pod<'a>>,
) -> Revision<'a> {
    let owned: Vec<&Value> = observed
        .of_kind("ReplicaSet")
        .filter(|set| is_owned_by(set, workload))
        .collect();
    let replica_set = newest_set(&owned, workload);
    let (current, others): (Vec<_>, Vec<_>) = pods
        .filter(|pod| owned.iter().any(|set| pod.is_owned_by(set)))
        .partition(|pod| replica_set.is_some_and(|set| pod.is_owned_by(set)));
    Revision {
        replica_set,
        pods: current,
        older: others,
    }
}

/// The ReplicaSet whose template is the Deployment's, as its controller finds it; the revision number is
/// written later than the set appears, and a rollback reuses an old set.
fn newest_set<'a>(owned: &[&'a Value], workload: &Value) -> Option<&'a Value> {
    let wanted = template(workload);
    owned
        .iter()
        .copied()
        .filter(|set| template(set) == wanted)
        .min_by_key(|set| time(set, "/metadata/creationTimestamp"))
}

fn template(object: &Value) -> Option<Value> {
    let mut template = object.pointer("/spec/template")?.clone();
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove("pod-template-hash");
    }
    Some(template)
}

fn split<'a>(pods: impl Iterator<Item = Pod<'a>>, label: &str, newest: &str) -> Revision<'a> {
    let (current, older) = pods.partition(|pod| {
        newest.is_empty() || pod.label(label).is_none_or(|revision| revision == newest)
    });
    Revision {
        replica_set: None,
        pods: current,
        older,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{self, observe};
    use super::*;

    fn names(pods: &[Pod<'_>]) -> Vec<String> {
        pods.iter().map(|pod| pod.name().to_owned()).collect()
    }

    #[test]
    fn a_deployments_newest_set_is_the_one_with_its_template() {
        let mut deployment = fixture::deployment("web", 1);
        let old = fixture::replica_set(&deployment, "web-1");
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
        let new = fixture::replica_set(&deployment, "web-2");
        let mut leaving = fixture::pod(&new, "web-2-a");
        leaving["metadata"]["deletionTimestamp"] = json!("2026-11-21T04:00:10Z");
        let observed = observe([
            fixture::pod(&old, "web-1-a"),
            leaving,
            fixture::pod(&new, "web-2-b"),
            old,
            new,
            deployment.clone(),
        ]);
        let revision = of(&observed, &deployment);
        assert_eq!(names(&revision.pods), ["web-2-b"]);
        assert_eq!(names(&revision.older), ["web-1-a"]);

        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:1");
        let back = of(&observed, &deployment);
        assert_eq!(
            names(&back.pods),
            ["web-1-a"],
            "a rollback reuses the old set"
        );
    }

    #[test]
    fn other_workloads_mark_their_pods() {
        let mut set = fixture::stateful_set("db", 2);
        set["status"]["updateRevision"] = json!("db-2");
        let pod = |name: &str, revision: &str| {
            let mut pod = fixture::pod(&set, name);
            pod["metadata"]["labels"]["controller-revision-hash"] = json!(revision);
            pod
        };
        let observed = observe([pod("db-0", "db-1"), pod("db-1", "db-2")]);
        let revision = of(&observed, &set);
        assert_eq!(names(&revision.pods), ["db-1"]);
        assert_eq!(names(&revision.older), ["db-0"]);

        let daemons = json!({
            "kind": "DaemonSet",
            "metadata": {"uid": "agent-uid", "annotations": {"deprecated.daemonset.template.generation": "2"}},
        });
        let pod = |name: &str, generation: &str| {
            let mut pod = fixture::pod(&daemons, name);
            pod["metadata"]["labels"]["pod-template-generation"] = json!(generation);
            pod
        };
        let observed = observe([pod("agent-a", "1"), pod("agent-b", "2")]);
        assert_eq!(names(&of(&observed, &daemons).pods), ["agent-b"]);
    }
}
