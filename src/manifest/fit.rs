//! Whether objects fit together: what one names must be among the rendered objects, and what selects
//! pods must select some.

use std::collections::BTreeMap;

use k8s_model::pointer::{child, path};
use k8s_model::selector;
use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, did_you_mean};

use super::object::Object;
use super::pod::{Pod, items};
use super::references::{Reference, Referenced, references};

/// A workload names an object that is not there.
const MISSING_OBJECT: Code = Code::new("S0330");
/// A workload names a key that the object does not have.
const MISSING_KEY: Code = Code::new("S0331");
/// A selector selects nothing.
const SELECTS_NOTHING: Code = Code::new("S0332");
/// A port is named that no container has.
const MISSING_PORT: Code = Code::new("S0333");
/// A workload does not select its own pods.
const NOT_OWN_PODS: Code = Code::new("S0334");
/// A container mounts a volume that its pod does not have.
const MISSING_VOLUME: Code = Code::new("S0335");

/// Everything that does not fit together.
pub(crate) fn check(objects: &[Object]) -> Vec<Diagnostic> {
    let present = present(objects);
    let pods: Vec<Pod<'_>> = objects.iter().filter_map(Pod::of).collect();
    let mut problems = Vec::new();
    for pod in &pods {
        for reference in references(pod) {
            problems.extend(dangling(pod.object, &reference, &present));
        }
        problems.extend(unselected(pod));
        problems.extend(unmounted(pod));
    }
    for object in objects {
        let gvk = object.reference().gvk;
        match (gvk.group.as_str(), gvk.kind.as_str()) {
            ("", "Service") => problems.extend(service(object, &pods)),
            ("policy", "PodDisruptionBudget") => problems.extend(budget(object, &pods)),
            _ => {}
        }
    }
    problems
}

/// The objects that pods can name, with the keys of those that have some.
type Present<'a> = BTreeMap<(&'static str, String), Vec<&'a str>>;

fn present(objects: &[Object]) -> Present<'_> {
    let kinds = [
        Referenced::ConfigMap,
        Referenced::Secret,
        Referenced::ServiceAccount,
        Referenced::PersistentVolumeClaim,
    ];
    let mut present = Present::new();
    for object in objects {
        let reference = object.reference();
        let Some(kind) = kinds
            .iter()
            .find(|kind| reference.gvk.group.is_empty() && kind.kind() == reference.gvk.kind)
        else {
            continue;
        };
        let keys = ["data", "binaryData", "stringData"]
            .into_iter()
            .filter_map(|field| object.value.get(field)?.as_object())
            .flat_map(|map| map.keys().map(String::as_str));
        present.insert((kind.kind(), reference.name), keys.collect());
    }
    present
}

fn dangling(
    object: &Object,
    reference: &Reference<'_>,
    present: &Present<'_>,
) -> Option<Diagnostic> {
    let Reference {
        kind,
        name,
        key,
        pointer,
        optional,
    } = reference;
    // Every namespace has an account of this name.
    if *optional || (*kind == Referenced::ServiceAccount && *name == "default") {
        return None;
    }
    let Some(keys) = present.get(&(kind.kind(), (*name).to_owned())) else {
        let message = format!(
            "{} names the {} `{name}`, which is not in the stack",
            object.reference(),
            kind.kind()
        );
        let problem = object.error(MISSING_OBJECT, pointer, message);
        let names = present
            .keys()
            .filter(|(other, _)| *other == kind.kind())
            .map(|(_, name)| name.as_str());
        return Some(match did_you_mean(name, names) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint(
                "add a template for it, or set `optional: true` where a pod can start without it",
            ),
        });
    };
    let key = key.filter(|key| !keys.contains(key))?;
    let message = format!(
        "{} reads the key `{key}` of {}/{name}, which does not have it",
        object.reference(),
        kind.kind()
    );
    let problem = object.error(MISSING_KEY, pointer, message);
    Some(match did_you_mean(key, keys.iter().copied()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.note(format!("its keys are {}", listed(keys))),
    })
}

/// A workload whose selector does not select the pods it makes: the API server refuses it.
fn unselected(pod: &Pod<'_>) -> Option<Diagnostic> {
    let object = pod.object;
    if object.reference().gvk.group != "apps" {
        return None;
    }
    let selector = object
        .value
        .pointer("/spec/selector")
        .filter(|selector| selector.is_object())?;
    if selector::matches(selector, &pod.labels()) {
        return None;
    }
    let message = format!(
        "the selector of {} does not match the labels of its pods",
        object.reference()
    );
    Some(
        object
            .error(NOT_OWN_PODS, "/spec/selector", message)
            .note(format!(
                "the labels of its pods are {}",
                shown(&pod.labels())
            )),
    )
}

/// Mounts of volumes that the pod does not have.
fn unmounted(pod: &Pod<'_>) -> Vec<Diagnostic> {
    let names = |parent: &Value, field: &str, name: &str| -> Vec<String> {
        items(parent, "", field)
            .filter_map(|(_, item)| item.pointer(name)?.as_str().map(str::to_owned))
            .collect()
    };
    let mut volumes = names(pod.spec, "volumes", "/name");
    if let Some(spec) = pod.object.value.get("spec") {
        volumes.extend(names(spec, "volumeClaimTemplates", "/metadata/name"));
    }
    pod.containers()
        .flat_map(|(pointer, container)| items(container, &pointer, "volumeMounts"))
        .filter_map(|(pointer, mount)| Some((pointer, mount.get("name")?.as_str()?)))
        .filter(|(_, name)| !volumes.iter().any(|volume| volume == name))
        .map(|(pointer, name)| {
            let message = format!(
                "{} mounts the volume `{name}`, which its pod does not have",
                pod.object.reference()
            );
            let problem = pod
                .object
                .error(MISSING_VOLUME, &child(&pointer, "name"), message);
            match did_you_mean(name, volumes.iter().map(String::as_str)) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem,
            }
        })
        .collect()
}

fn service(object: &Object, pods: &[Pod<'_>]) -> Vec<Diagnostic> {
    let selector = object
        .value
        .pointer("/spec/selector")
        .filter(|selector| selector.as_object().is_some_and(|map| !map.is_empty()));
    let external = object
        .value
        .pointer("/spec/type")
        .is_some_and(|kind| kind == "ExternalName");
    let Some(selector) = selector.filter(|_| !external) else {
        return Vec::new();
    };
    let selected: Vec<&Pod<'_>> = pods
        .iter()
        .filter(|pod| selector::map_matches(selector, &pod.labels()))
        .collect();
    if selected.is_empty() {
        return vec![selects_nothing(object, pods)];
    }
    let Some(spec) = object.value.get("spec") else {
        return Vec::new();
    };
    items(spec, "/spec", "ports")
        .filter_map(|(pointer, port)| {
            Some((
                child(&pointer, "targetPort"),
                port.get("targetPort")?.as_str()?,
            ))
        })
        .filter_map(|(pointer, name)| missing_port(object, &pointer, name, &selected))
        .collect()
}

/// A budget that protects no pod is a slip; a Kubernetes before 1.21 takes an empty selector for it.
fn budget(object: &Object, pods: &[Pod<'_>]) -> Option<Diagnostic> {
    let selector = object
        .value
        .pointer("/spec/selector")
        .filter(|selector| selector.is_object())?;
    let any = pods
        .iter()
        .any(|pod| selector::matches(selector, &pod.labels()));
    (!any).then(|| selects_nothing(object, pods))
}

fn selects_nothing(object: &Object, pods: &[Pod<'_>]) -> Diagnostic {
    let message = format!("{} selects no pod of the stack", object.reference());
    let problem = object.error(SELECTS_NOTHING, "/spec/selector", message);
    match pods.iter().find(|pod| pod.object.service == object.service) {
        Some(pod) => problem.note(format!(
            "the pods of {} have the labels {}",
            pod.object.reference(),
            shown(&pod.labels())
        )),
        None => problem,
    }
}

fn missing_port(
    object: &Object,
    pointer: &str,
    name: &str,
    selected: &[&Pod<'_>],
) -> Option<Diagnostic> {
    let ports_of = |pod: &Pod<'_>| -> Vec<String> {
        pod.containers()
            .flat_map(|(pointer, container)| items(container, &pointer, "ports"))
            .filter_map(|(_, port)| port.get("name")?.as_str().map(str::to_owned))
            .collect()
    };
    let (pod, ports) = selected
        .iter()
        .map(|pod| (pod, ports_of(pod)))
        .find(|(_, ports)| !ports.iter().any(|port| port == name))?;
    let message = format!(
        "{}: `{}` names the port `{name}`, which no container of {} has",
        object.reference(),
        path(pointer, &object.value),
        pod.object.reference()
    );
    let problem = object.error(MISSING_PORT, pointer, message);
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    Some(match did_you_mean(name, ports.iter().copied()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.note(format!("its ports are {}", listed(&ports))),
    })
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn shown(labels: &selector::Labels<'_>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
    listed(&pairs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::sample::object;

    fn config(kind: &str, name: &str, data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": data})
    }

    fn deployment(pod: Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod},
            },
        })
    }

    fn port_pod() -> Value {
        json!({"containers": [{"ports": [{"name": "http", "containerPort": 80}]}]})
    }

    fn service(spec: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec})
    }

    /// The problems as `CODE message | notes and hints`.
    fn problems(values: &[Value]) -> Vec<String> {
        let objects: Vec<Object> = values
            .iter()
            .map(|value| object("web", value.clone()))
            .collect();
        check(&objects)
            .into_iter()
            .map(|problem| {
                let advice = [problem.notes, problem.hints].concat().join("; ");
                format!("{} {} | {advice}", problem.code, problem.message)
            })
            .collect()
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let env = |source: Value| json!({"containers": [{"envFrom": [source]}]});
        let key = |name: &str| json!({"containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "web", "key": name}}}]}]});
        let web = config("ConfigMap", "web", json!({"PORT": "80"}));
        for (pod, expected) in [
            (env(json!({"configMapRef": {"name": "web"}})), None),
            (
                env(json!({"secretRef": {"name": "gone", "optional": true}})),
                None,
            ),
            (json!({"serviceAccountName": "default"}), None),
            (key("PORT"), None),
            (
                env(json!({"configMapRef": {"name": "wbe"}})),
                Some(
                    "S0330 Deployment/web names the ConfigMap `wbe`, which is not in the stack | did you mean `web`?",
                ),
            ),
            (
                env(json!({"secretRef": {"name": "web"}})),
                Some(
                    "S0330 Deployment/web names the Secret `web`, which is not in the stack | add a template for it, or set `optional: true` where a pod can start without it",
                ),
            ),
            (
                json!({"serviceAccountName": "web"}),
                Some(
                    "S0330 Deployment/web names the ServiceAccount `web`, which is not in the stack | add a template for it, or set `optional: true` where a pod can start without it",
                ),
            ),
            (
                key("PROT"),
                Some(
                    "S0331 Deployment/web reads the key `PROT` of ConfigMap/web, which does not have it | did you mean `PORT`?",
                ),
            ),
            (
                key("other"),
                Some(
                    "S0331 Deployment/web reads the key `other` of ConfigMap/web, which does not have it | its keys are PORT",
                ),
            ),
            (
                json!({"containers": [{"volumeMounts": [{"name": "data"}]}], "volumes": [{"name": "dada"}]}),
                Some(
                    "S0335 Deployment/web mounts the volume `data`, which its pod does not have | did you mean `dada`?",
                ),
            ),
        ] {
            let found = problems(&[web.clone(), deployment(pod)]);
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn selectors_and_ports_fit() {
        let ports = |target: Value| json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": target}]});
        for (spec, expected) in [
            (ports(json!("http")), None),
            (ports(json!(8080)), None),
            (json!({"ports": [{"port": 80}]}), None),
            (
                json!({"type": "ExternalName", "selector": {"app": "x"}}),
                None,
            ),
            (
                json!({"selector": {"app": "wbe"}}),
                Some(
                    "S0332 Service/web selects no pod of the stack | the pods of Deployment/web have the labels app=web",
                ),
            ),
            (
                ports(json!("htpt")),
                Some(
                    "S0333 Service/web: `spec.ports[0].targetPort` names the port `htpt`, which no container of Deployment/web has | did you mean `http`?",
                ),
            ),
            (
                ports(json!("metrics")),
                Some(
                    "S0333 Service/web: `spec.ports[0].targetPort` names the port `metrics`, which no container of Deployment/web has | its ports are http",
                ),
            ),
        ] {
            let found = problems(&[deployment(port_pod()), service(spec)]);
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
        let mut other = deployment(port_pod());
        other["spec"]["selector"]["matchLabels"]["app"] = json!("api");
        assert_eq!(
            problems(&[other]),
            [
                "S0334 the selector of Deployment/web does not match the labels of its pods | the labels of its pods are app=web"
            ]
        );
        let budget = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"app": "api"}}},
        });
        assert_eq!(
            problems(&[deployment(port_pod()), budget]),
            [
                "S0332 PodDisruptionBudget/web selects no pod of the stack | the pods of Deployment/web have the labels app=web"
            ]
        );
    }

    #[test]
    fn a_stateful_set_mounts_its_claims() {
        let mut set = deployment(json!({"containers": [{"volumeMounts": [{"name": "data"}]}]}));
        set["kind"] = json!("StatefulSet");
        set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
        assert_eq!(problems(&[set]), Vec::<String>::new());
    }
}
