//! Where in the workload a field stands that a rule talks about.

use serde_json::Value;

use super::super::observed::{list, text};

/// The pod template's specification within a workload.
pub(super) fn base(workload: &Value) -> &'static str {
    match text(workload, "/kind") {
        "Pod" => "/spec",
        _ => "/spec/template/spec",
    }
}

/// The pointer of a container; `field` begins with a slash and must exist.
pub(super) fn of_container(workload: &Value, name: &str, field: &str) -> Option<String> {
    ["initContainers", "containers"].iter().find_map(|group| {
        let group = format!("{}/{group}", base(workload));
        let index = list(workload, &group)
            .iter()
            .position(|container| text(container, "/name") == name)?;
        existing(workload, format!("{group}/{index}{field}"))
    })
}

/// The pointer if something stands there.
pub(super) fn existing(workload: &Value, pointer: String) -> Option<String> {
    workload.pointer(&pointer).is_some().then_some(pointer)
}

/// The pointer of the name in a reference to another object: `keys` are the fields that hold references,
/// such as `secretKeyRef`.
pub(super) fn of_reference(workload: &Value, keys: &[&str], name: &str) -> Option<String> {
    let base = base(workload);
    find_reference(workload.pointer(base)?, base, keys, name)
}

fn find_reference(value: &Value, at: &str, keys: &[&str], name: &str) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            let named = |field: &str| keys.contains(&key.as_str()) && text(value, field) == name;
            ["/name", "/secretName", "/claimName"]
                .iter()
                .find(|field| named(field))
                .map(|field| format!("{at}{field}"))
                .or_else(|| find_reference(value, &at, keys, name))
        }),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .find_map(|(index, value)| find_reference(value, &format!("{at}/{index}"), keys, name)),
        _ => None,
    }
}

/// The text between the first pair of double quotes after `before`.
pub(super) fn quoted_after<'t>(message: &'t str, before: &str) -> Option<&'t str> {
    let (_, rest) = message.split_once(before)?;
    rest.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_found_wherever_they_stand() {
        let workload = json!({"kind": "Deployment", "spec": {"template": {"spec": {
            "initContainers": [{"name": "setup", "image": "a"}],
            "containers": [{
                "name": "web",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "b"}}}],
                "envFrom": [{"configMapRef": {"name": "settings"}}],
            }],
            "volumes": [{"name": "tls", "secret": {"secretName": "cert"}}],
        }}}});
        let secret = ["secretKeyRef", "secretRef", "secret"];
        assert_eq!(
            of_reference(&workload, &secret, "keys").as_deref(),
            Some("/spec/template/spec/containers/0/env/1/valueFrom/secretKeyRef/name")
        );
        assert_eq!(
            of_reference(&workload, &secret, "cert").as_deref(),
            Some("/spec/template/spec/volumes/0/secret/secretName")
        );
        assert_eq!(
            of_reference(&workload, &secret, "settings"),
            None,
            "a ConfigMap"
        );
        assert_eq!(
            of_container(&workload, "setup", "/image").as_deref(),
            Some("/spec/template/spec/initContainers/0/image")
        );
        assert_eq!(
            of_container(&workload, "web", "/image"),
            None,
            "not written there"
        );
    }

    #[test]
    fn quoted_names_are_cut_out() {
        assert_eq!(
            quoted_after("secret \"gone\" not found", "secret "),
            Some("gone")
        );
        assert_eq!(quoted_after("no names", "secret "), None);
    }
}
