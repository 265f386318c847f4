//! Whether what objects other than pods point at is among the rendered objects: the Service of a
//! StatefulSet, the target of an autoscaler, the backends of an Ingress.

use k8s_model::pointer::child;
use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, did_you_mean};

use super::object::Object;
use super::pod::items;

/// An object points at one that is not there.
const MISSING_TARGET: Code = Code::new("S0336");

/// A place that names an object of the same namespace.
struct Target<'a> {
    kind: &'a str,
    name: &'a str,
    pointer: String,
}

/// Every target that is not there.
pub(crate) fn check(objects: &[Object]) -> Vec<Diagnostic> {
    let present: Vec<(String, String)> = objects
        .iter()
        .map(Object::reference)
        .map(|reference| (reference.gvk.kind, reference.name))
        .collect();
    let names = |kind: &str| -> Vec<&str> {
        present
            .iter()
            .filter(|(other, _)| other == kind)
            .map(|(_, name)| name.as_str())
            .collect()
    };
    objects
        .iter()
        .flat_map(|object| {
            targets(object)
                .into_iter()
                .filter(|target| !names(target.kind).contains(&target.name))
                .map(|target| missing(object, &target, &names(target.kind)))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn missing(object: &Object, target: &Target<'_>, names: &[&str]) -> Diagnostic {
    let Target {
        kind,
        name,
        pointer,
    } = target;
    let message = format!(
        "{} points at {kind}/{name}, which is not in the stack",
        object.reference()
    );
    let problem = object.error(MISSING_TARGET, pointer, message);
    match did_you_mean(name, names.iter().copied()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem,
    }
}

fn targets(object: &Object) -> Vec<Target<'_>> {
    let gvk = object.reference().gvk;
    let value = &object.value;
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("apps", "StatefulSet") => text("/spec/serviceName")
            .filter(|name| !name.is_empty())
            .map(|name| service(name, "/spec/serviceName".to_owned()))
            .into_iter()
            .collect(),
        ("autoscaling", "HorizontalPodAutoscaler") => text("/spec/scaleTargetRef/kind")
            .zip(text("/spec/scaleTargetRef/name"))
            .map(|(kind, name)| Target {
                kind,
                name,
                pointer: "/spec/scaleTargetRef/name".to_owned(),
            })
            .into_iter()
            .collect(),
        ("networking.k8s.io", "Ingress") => backends(value),
        _ => Vec::new(),
    }
}

fn backends(value: &Value) -> Vec<Target<'_>> {
    let Some(spec) = value.get("spec") else {
        return Vec::new();
    };
    let default = spec.get("defaultBackend");
    let paths = items(spec, "/spec", "rules")
        .filter_map(|(pointer, rule)| Some((child(&pointer, "http"), rule.get("http")?)))
        .flat_map(|(pointer, http)| items(http, &pointer, "paths"))
        .filter_map(|(pointer, path)| Some((child(&pointer, "backend"), path.get("backend")?)));
    default
        .map(|backend| (child("/spec", "defaultBackend"), backend))
        .into_iter()
        .chain(paths)
        .filter_map(|(pointer, backend)| {
            let name = backend.pointer("/service/name")?.as_str()?;
            Some(service(name, format!("{pointer}/service/name")))
        })
        .collect()
}

fn service(name: &str, pointer: String) -> Target<'_> {
    Target {
        kind: "Service",
        name,
        pointer,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::sample::object;

    fn problems(kind: (&str, &str), spec: Value) -> Vec<String> {
        let named = |api_version: &str, kind: &str, name: &str, spec: Value| {
            object(
                "web",
                json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}),
            )
        };
        let objects = [
            named("v1", "Service", "web", json!({})),
            named("apps/v1", "Deployment", "web", json!({})),
            named(kind.0, kind.1, "x", spec),
        ];
        check(&objects)
            .into_iter()
            .map(|problem| format!("{} | {}", problem.message, problem.hints.join("; ")))
            .collect()
    }

    #[test]
    fn targets_exist() {
        let set = ("apps/v1", "StatefulSet");
        let scaler = ("autoscaling/v2", "HorizontalPodAutoscaler");
        let ingress = ("networking.k8s.io/v1", "Ingress");
        let backend = |name: &str| json!({"service": {"name": name, "port": {"name": "http"}}});
        let routes = |first: &str, second: &str| {
            json!({
                "defaultBackend": backend(first),
                "rules": [{"host": "a"}, {"http": {"paths": [{"backend": backend(second)}]}}],
            })
        };
        for (kind, spec, expected) in [
            (set, json!({"serviceName": "web"}), vec![]),
            (set, json!({}), vec![]),
            (
                set,
                json!({"serviceName": "other"}),
                vec!["StatefulSet/x points at Service/other, which is not in the stack | "],
            ),
            (
                scaler,
                json!({"scaleTargetRef": {"kind": "Deployment", "name": "web"}}),
                vec![],
            ),
            (
                scaler,
                json!({"scaleTargetRef": {"kind": "StatefulSet", "name": "web"}}),
                vec![
                    "HorizontalPodAutoscaler/x points at StatefulSet/web, which is not in the stack | ",
                ],
            ),
            (ingress, routes("web", "web"), vec![]),
            (
                ingress,
                routes("wbe", "api"),
                vec![
                    "Ingress/x points at Service/wbe, which is not in the stack | did you mean `web`?",
                    "Ingress/x points at Service/api, which is not in the stack | ",
                ],
            ),
            (
                ingress,
                json!({"rules": [{"http": {"paths": [{"backend": {"resource": {"name": "bucket"}}}]}}]}),
                vec![],
            ),
        ] {
            assert_eq!(problems(kind, spec), expected);
        }
    }
}
