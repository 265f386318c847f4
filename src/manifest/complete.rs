//! What stackctl itself puts into objects: namespace, labels, the digest of the configuration.

use std::collections::{BTreeMap, BTreeSet};

use k8s_model::pointer::{child, item};
use k8s_model::{Gvk, ObjectRef};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::diagnostic::{Code, Diagnostic, Problems};
use crate::stack::{ServiceName, Stack};

use super::kinds::{self, Scope};
use super::object::{Object, Origin, Origins};
use super::order;
use super::pod::{self, Pod, items};
use super::references::{Referenced, references};

/// A template names another namespace than the environment's.
const OTHER_NAMESPACE: Code = Code::new("S0301");
/// A template sets one of stackctl's labels or annotations to another value.
const RESERVED: Code = Code::new("S0302");
/// Two objects have the same kind and name.
const DUPLICATE: Code = Code::new("S0303");

/// The label with the name of the service.
pub const NAME: &str = "app.kubernetes.io/name";
/// The label with the name of the stack.
pub const PART_OF: &str = "app.kubernetes.io/part-of";
/// The label with the name of the environment.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The label that says who wrote the object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "stackctl";
/// The annotation of pod templates that changes with the ConfigMaps a pod reads at its start.
pub const CONFIG_DIGEST: &str = "stackctl.dev/config-digest";

/// Puts in what templates leave to stackctl and gives the objects the order in which they are applied:
/// objects of the stack as a whole, then service by service, each after those it needs.
///
/// Every object gets its namespace and the labels of stack, service and environment. What cannot be
/// changed later (volume claim templates, the pods of a Job) gets no label of the environment, so that
/// it is the same in all of them; selectors are left as the templates write them.
pub fn complete(objects: Vec<Object>, stack: &Stack) -> Result<Vec<Object>, Problems> {
    let mut objects = objects;
    let mut problems = duplicates(&objects);
    let scopes = custom_scopes(&objects);
    let configs = configs(&objects);
    for object in &mut objects {
        set_namespace(object, stack, &scopes, &mut problems);
        set_labels(object, stack, &mut problems);
        set_config_digest(object, &configs, &mut problems);
        set_protocols(object);
    }
    sort(&mut objects, stack);
    Problems::check(problems)?;
    Ok(objects)
}

/// The namespace of the environment as an object.
#[must_use]
pub fn namespace(stack: &Stack) -> Object {
    let labels: Map<String, Value> = labels(None, stack)
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let mut origins = Origins::default();
    origins.insert(
        String::new(),
        Origin {
            template: stack.environment.span.clone(),
            values: Vec::new(),
        },
    );
    Object {
        value: json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": stack.environment.namespace.as_str(), "labels": labels},
        }),
        service: None,
        origins,
    }
}

/// The labels of an object of `service`, or of the stack as a whole.
#[must_use]
pub fn labels(service: Option<&ServiceName>, stack: &Stack) -> Vec<(&'static str, String)> {
    let mut labels = lasting_labels(service, stack);
    labels.push((INSTANCE, stack.environment.name.to_string()));
    labels
}

/// Those of the labels that are the same in all environments.
fn lasting_labels(service: Option<&ServiceName>, stack: &Stack) -> Vec<(&'static str, String)> {
    service
        .map(|service| (NAME, service.to_string()))
        .into_iter()
        .chain([
            (PART_OF, stack.name.to_string()),
            (MANAGED_BY, MANAGER.to_owned()),
        ])
        .collect()
}

/// Whether kinds that the objects themselves define have namespaces.
fn custom_scopes(objects: &[Object]) -> BTreeMap<(String, String), Scope> {
    objects
        .iter()
        .filter(|object| object.reference().gvk.kind == "CustomResourceDefinition")
        .filter_map(|object| {
            let text = |pointer: &str| object.value.pointer(pointer)?.as_str();
            let scope = match text("/spec/scope")? {
                "Cluster" => Scope::Cluster,
                _ => Scope::Namespaced,
            };
            let kind = text("/spec/names/kind")?.to_owned();
            Some(((text("/spec/group")?.to_owned(), kind), scope))
        })
        .collect()
}

fn set_namespace(
    object: &mut Object,
    stack: &Stack,
    custom: &BTreeMap<(String, String), Scope>,
    problems: &mut Vec<Diagnostic>,
) {
    let reference = object.reference();
    let Gvk { group, kind, .. } = reference.gvk.clone();
    let ours = stack.environment.namespace.as_str();
    let scope = kinds::scope(&reference.gvk)
        .or_else(|| custom.get(&(group, kind)).copied())
        .unwrap_or(Scope::Namespaced);
    let pointer = "/metadata/namespace";
    match (scope, reference.namespace.as_deref()) {
        (Scope::Namespaced, None) => {
            fill_in(object, "/metadata", "namespace", ours.into());
        }
        (Scope::Namespaced, Some(named)) if named != ours => problems.push(
            object
                .error(
                    OTHER_NAMESPACE,
                    pointer,
                    format!("{reference} names the namespace `{named}`, but the environment's is `{ours}`"),
                )
                .hint("leave `namespace` out: stackctl puts it in"),
        ),
        (Scope::Cluster, Some(_)) => problems.push(
            object
                .error(
                    OTHER_NAMESPACE,
                    pointer,
                    format!("{reference} names a namespace, but a {} has none", reference.gvk.kind),
                )
                .hint("leave `namespace` out"),
        ),
        (Scope::Namespaced | Scope::Cluster, _) => {}
    }
}

fn set_labels(object: &mut Object, stack: &Stack, problems: &mut Vec<Diagnostic>) {
    let gvk = object.reference().gvk;
    let service = object.service.clone();
    let all = labels(service.as_ref(), stack);
    let lasting = lasting_labels(service.as_ref(), stack);
    set_all(object, "/metadata", "labels", &all, problems);
    let template = pod::template_pointer(&gvk).filter(|pointer| !pointer.is_empty());
    if let Some(template) = template.filter(|pointer| is_map(object, pointer)) {
        let labels = if gvk.kind == "Job" { &lasting } else { &all };
        let metadata = child(template, "metadata");
        set_all(object, &metadata, "labels", labels, problems);
    }
    if gvk.kind == "CronJob" && is_map(object, "/spec/jobTemplate") {
        set_all(
            object,
            "/spec/jobTemplate/metadata",
            "labels",
            &all,
            problems,
        );
    }
    let claims = "/spec/volumeClaimTemplates";
    let count = object
        .value
        .pointer(claims)
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    for index in 0..count {
        let metadata = child(&item(claims, index), "metadata");
        set_all(object, &metadata, "labels", &lasting, problems);
    }
}

fn is_map(object: &Object, pointer: &str) -> bool {
    object.value.pointer(pointer).is_some_and(Value::is_object)
}

/// Sets labels or annotations; a template may write the same value, not another one.
fn set_all(
    object: &mut Object,
    metadata: &str,
    field: &str,
    values: &[(&'static str, String)],
    problems: &mut Vec<Diagnostic>,
) {
    let map = child(metadata, field);
    for (key, ours) in values {
        let pointer = child(&map, key);
        match object.value.pointer(&pointer) {
            None => fill_in(object, &map, key, ours.as_str().into()),
            Some(theirs) if theirs == ours.as_str() => {}
            Some(theirs) => {
                let noun = field.trim_end_matches('s');
                let message = format!(
                    "{} sets the {noun} `{key}` to {theirs}, but stackctl sets it to \"{ours}\"",
                    object.reference()
                );
                problems.push(
                    object
                        .error(RESERVED, &pointer, message)
                        .hint(format!("leave the {noun} out: stackctl puts it in")),
                );
            }
        }
    }
}

/// The contents of the stack's ConfigMaps, by name.
fn configs(objects: &[Object]) -> BTreeMap<String, Value> {
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
fn set_config_digest(
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

/// The server merges ports by number and protocol; older ones refuse to without the protocol.
fn set_protocols(object: &mut Object) {
    let missing: Vec<String> = port_lists(object)
        .into_iter()
        .flat_map(|(owner, parent)| items(parent, &owner, "ports"))
        .filter(|(_, port)| port.is_object() && port.get("protocol").is_none())
        .map(|(pointer, _)| pointer)
        .collect();
    for pointer in missing {
        fill_in(object, &pointer, "protocol", "TCP".into());
    }
}

/// What has `ports`, with its pointer.
fn port_lists(object: &Object) -> Vec<(String, &Value)> {
    let gvk = object.reference().gvk;
    if gvk.group.is_empty() && gvk.kind == "Service" {
        let spec = object.value.get("spec");
        return spec
            .map(|spec| ("/spec".to_owned(), spec))
            .into_iter()
            .collect();
    }
    Pod::of(object).map_or_else(Vec::new, |pod| pod.containers().collect())
}

/// Sets a field that the template left out; maps on the way to it are made. What has another shape stays
/// as it is: the check of types reports it.
fn fill_in(object: &mut Object, parent: &str, key: &str, value: Value) {
    let mut here = &mut object.value;
    for step in k8s_model::pointer::steps(parent) {
        here = match here {
            Value::Array(items) => match step
                .parse()
                .ok()
                .and_then(|index: usize| items.get_mut(index))
            {
                Some(item) => item,
                None => return,
            },
            Value::Object(map) => map.entry(step).or_insert(Value::Null),
            _ => return,
        };
        if here.is_null() {
            *here = json!({});
        }
    }
    if let Value::Object(map) = here {
        map.insert(key.to_owned(), value);
        object.origins.fill_in(child(parent, key));
    }
}

fn duplicates(objects: &[Object]) -> Vec<Diagnostic> {
    let mut first: BTreeMap<(String, String, String), &Object> = BTreeMap::new();
    let mut problems = Vec::new();
    for object in objects {
        let ObjectRef { gvk, name, .. } = object.reference();
        let Some(earlier) = first.insert((gvk.group, gvk.kind, name), object) else {
            continue;
        };
        let reference = object.reference();
        let mut problem = Diagnostic::error(DUPLICATE, format!("{reference} is there twice"));
        for (object, text) in [(object, "again here"), (earlier, "first here")] {
            if let Some(origin) = object.origins.get("/metadata/name") {
                problem = problem.at(&origin.template, text);
            }
        }
        problems.push(problem.hint("give one of the two another name, or remove it"));
    }
    problems
}

fn sort(objects: &mut [Object], stack: &Stack) {
    let positions: BTreeMap<&ServiceName, usize> = stack
        .in_order_of_needs()
        .into_iter()
        .enumerate()
        .map(|(position, service)| (&service.name, position))
        .collect();
    objects.sort_by_cached_key(|object| {
        let reference = object.reference();
        let position = object
            .service
            .as_ref()
            .map(|service| positions.get(service).copied());
        (position, order::rank(&reference.gvk), reference)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Explain;
    use crate::manifest::sample::{object, stack};

    fn completed(texts: &[(&str, Value)]) -> Vec<Object> {
        let objects = texts
            .iter()
            .map(|(service, value)| object(service, value.clone()))
            .collect();
        complete(objects, &stack()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn refused(value: Value) -> Diagnostic {
        let problems = complete(vec![object("web", value)], &stack()).unwrap_err();
        problems.diagnostics().remove(0)
    }

    fn deployment(pod: Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": pod}},
        })
    }

    fn config(data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": data})
    }

    #[test]
    fn objects_and_pods_carry_namespace_and_labels() {
        let objects = completed(&[("web", deployment(json!({"containers": []})))]);
        let labels = json!({
            NAME: "web", PART_OF: "shop", INSTANCE: "staging", MANAGED_BY: "stackctl",
        });
        assert_eq!(
            objects[0].value["metadata"],
            json!({"name": "web", "namespace": "shop-staging", "labels": labels})
        );
        assert_eq!(
            objects[0].value["spec"]["template"]["metadata"],
            json!({"labels": labels})
        );
        assert!(objects[0].origins.is_filled_in("/metadata/namespace"));
        assert!(
            objects[0]
                .origins
                .is_filled_in("/spec/template/metadata/labels/app.kubernetes.io~1name")
        );
    }

    #[test]
    fn what_cannot_be_changed_later_is_the_same_in_every_environment() {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"},
            "spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]},
        });
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "web-job"},
            "spec": {"template": {"spec": {"containers": []}}},
        });
        let objects = completed(&[("web", set), ("web", job)]);
        let lasting = json!({NAME: "web", PART_OF: "shop", MANAGED_BY: "stackctl"});
        let claim = objects.iter().find_map(|o| {
            o.value
                .pointer("/spec/volumeClaimTemplates/0/metadata/labels")
        });
        let pods = objects
            .iter()
            .find_map(|o| o.value.pointer("/spec/template/metadata/labels"));
        assert_eq!(claim, Some(&lasting));
        assert_eq!(pods, Some(&lasting));
    }

    #[test]
    fn a_cron_job_labels_its_jobs_and_pods() {
        let objects = completed(&[(
            "web",
            json!({
                "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "web"},
                "spec": {"jobTemplate": {"spec": {"template": {"spec": {}}}}},
            }),
        )]);
        for pointer in ["/spec/jobTemplate", "/spec/jobTemplate/spec/template"] {
            let labels = objects[0]
                .value
                .pointer(&format!("{pointer}/metadata/labels"));
            assert_eq!(labels.unwrap()[NAME], "web", "{pointer}");
        }
    }

    #[test]
    fn kinds_without_namespaces_get_none() {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "zones.example.com"},
            "spec": {"group": "example.com", "scope": "Cluster", "names": {"kind": "Zone"}},
        });
        let zone =
            json!({"apiVersion": "example.com/v1", "kind": "Zone", "metadata": {"name": "eu"}});
        let other =
            json!({"apiVersion": "example.com/v1", "kind": "Town", "metadata": {"name": "eu"}});
        let objects = completed(&[("web", crd), ("web", zone), ("web", other)]);
        let namespaces: Vec<_> = objects.iter().map(|o| o.reference().namespace).collect();
        assert_eq!(namespaces, [None, Some("shop-staging".to_owned()), None]);
    }

    #[test]
    fn templates_cannot_contradict() {
        let mut labelled = config(json!({}));
        labelled["metadata"]["labels"] = json!({NAME: "api"});
        let mut elsewhere = config(json!({}));
        elsewhere["metadata"]["namespace"] = json!("default");
        let scoped = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": "x", "namespace": "shop-staging"},
        });
        for (value, code, words) in [
            (
                labelled,
                "S0302",
                "ConfigMap/web sets the label `app.kubernetes.io/name` to \"api\", but stackctl sets it to \"web\"",
            ),
            (
                elsewhere,
                "S0301",
                "ConfigMap/web names the namespace `default`, but the environment's is `shop-staging`",
            ),
            (scoped, "S0301", "a PersistentVolume has none"),
        ] {
            let problem = refused(value);
            assert_eq!(problem.code.as_str(), code);
            assert!(problem.message.contains(words), "{}", problem.message);
            assert_eq!(problem.labels[0].span.to_string(), "web.yaml.hbs:1:1");
        }
    }

    #[test]
    fn an_object_that_is_there_twice_is_refused_with_both_places() {
        let objects = vec![
            object("web", config(json!({"a": "1"}))),
            object("api", config(json!({"a": "2"}))),
        ];
        let problem = complete(objects, &stack())
            .unwrap_err()
            .diagnostics()
            .remove(0);
        assert_eq!(problem.code.as_str(), "S0303");
        let places: Vec<String> = problem.labels.iter().map(|l| l.span.to_string()).collect();
        assert_eq!(places, ["api.yaml.hbs:1:1", "web.yaml.hbs:1:1"]);
    }

    #[test]
    fn the_digest_follows_the_config_that_the_pod_reads_and_nothing_else() {
        let digest_of = |pod: Value, data: Value| {
            let objects = completed(&[("web", deployment(pod)), ("web", config(data))]);
            objects[1]
                .value
                .pointer("/spec/template/metadata/annotations/stackctl.dev~1config-digest")
                .map(|digest| digest.as_str().unwrap().to_owned())
        };
        let from_env = json!({"containers": [{"envFrom": [{"configMapRef": {"name": "web"}}]}]});
        let mounted = json!({"containers": [], "volumes": [{"configMap": {"name": "web"}}]});
        let first = digest_of(from_env.clone(), json!({"a": "1"})).unwrap();
        // printf '{"web":{"binaryData":{},"data":{"a":"1"}}}' | sha256sum
        assert_eq!(first, "cb05f66395e2542d");
        assert_eq!(digest_of(mounted, json!({"a": "1"})).unwrap(), first);
        assert_ne!(digest_of(from_env, json!({"a": "2"})).unwrap(), first);
        assert_eq!(
            digest_of(json!({"containers": []}), json!({"a": "1"})),
            None
        );
    }

    #[test]
    fn ports_get_their_protocol() {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]},
        });
        let pod = json!({"containers": [{"ports": [{"containerPort": 80}]}]});
        let objects = completed(&[("web", service), ("web", deployment(pod))]);
        assert_eq!(
            objects[0].value["spec"]["ports"],
            json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}])
        );
        assert_eq!(
            objects[1].value["spec"]["template"]["spec"]["containers"][0]["ports"],
            json!([{"containerPort": 80, "protocol": "TCP"}])
        );
    }

    #[test]
    fn services_come_after_those_they_need() {
        let named = |name: &str, mut value: Value| {
            value["metadata"]["name"] = name.into();
            value
        };
        let input = [
            ("api", named("api", deployment(json!({})))),
            ("web", named("web", config(json!({})))),
            ("db", named("db", deployment(json!({})))),
            ("api", named("api", config(json!({})))),
        ];
        let order: Vec<String> = completed(&input)
            .iter()
            .map(|object| object.reference().to_string())
            .collect();
        let mut reversed = input;
        reversed.reverse();
        assert_eq!(
            order,
            [
                "Deployment/db",
                "ConfigMap/api",
                "Deployment/api",
                "ConfigMap/web"
            ]
        );
        let again: Vec<String> = completed(&reversed)
            .iter()
            .map(|o| o.reference().to_string())
            .collect();
        assert_eq!(order, again);
    }

    #[test]
    fn completing_twice_changes_nothing() {
        let pod = json!({
            "containers": [{"ports": [{"containerPort": 80}], "envFrom": [{"configMapRef": {"name": "web"}}]}],
        });
        let once = completed(&[("web", deployment(pod)), ("web", config(json!({"a": "1"})))]);
        assert_eq!(complete(once.clone(), &stack()).unwrap(), once);
    }

    #[test]
    fn the_namespace_is_ours() {
        let namespace = namespace(&stack());
        assert_eq!(
            namespace.value,
            json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {
                    "name": "shop-staging",
                    "labels": {PART_OF: "shop", INSTANCE: "staging", MANAGED_BY: "stackctl"},
                },
            })
        );
    }
}
