//! What stackctl itself puts into objects: namespace, labels, the digest of the configuration.

use std::collections::BTreeMap;

use k8s_model::{Gvk, ObjectRef};
use serde_json::{Map, Value, json};

use crate::diagnostic::{Code, Diagnostic, Problems};
use crate::stack::{ServiceName, Stack};

use super::config_digest::{configs, set_config_digest};
use super::kinds::{self, Scope};
use super::labels::{fill_in, labels, set_labels};
use super::object::{Object, Origin, Origins};
use super::order;
use super::pod::{Pod, items};

/// A template names another namespace than the environment's.
const OTHER_NAMESPACE: Code = Code::new("S0301");
/// Two objects have the same kind and name.
const DUPLICATE: Code = Code::new("S0303");

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
    use crate::manifest::{INSTANCE, MANAGED_BY, NAME, PART_OF};

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
