//! What a pod names: ConfigMaps, Secrets, its ServiceAccount, its claims.

use k8s_model::pointer::child;
use serde_json::Value;

use super::pod::{Pod, items};

/// The kinds that a pod can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Referenced {
    ConfigMap,
    Secret,
    ServiceAccount,
    PersistentVolumeClaim,
}

impl Referenced {
    /// As `kind` has it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::ServiceAccount => "ServiceAccount",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
        }
    }
}

/// A place in a pod that names an object of its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    /// Its kind.
    pub(crate) kind: Referenced,
    /// Its name.
    pub(crate) name: &'a str,
    /// The key that is read; none for all of them.
    pub(crate) key: Option<&'a str>,
    /// Where it is named.
    pub(crate) pointer: String,
    /// Whether the pod starts without it.
    pub(crate) optional: bool,
}

/// Everything that a pod names.
pub(crate) fn references<'a>(pod: &Pod<'a>) -> Vec<Reference<'a>> {
    use Referenced::{ConfigMap, PersistentVolumeClaim, Secret, ServiceAccount};
    let mut found = Vec::new();
    for (pointer, container) in pod.containers() {
        for source in items(container, &pointer, "envFrom") {
            whole(&mut found, &source, ("configMapRef", "name"), ConfigMap);
            whole(&mut found, &source, ("secretRef", "name"), Secret);
        }
        for variable in items(container, &pointer, "env") {
            let Some(from) = field(&variable, "valueFrom") else {
                continue;
            };
            keyed(&mut found, &from, "configMapKeyRef", ConfigMap);
            keyed(&mut found, &from, "secretKeyRef", Secret);
        }
    }
    for volume in items(pod.spec, &pod.pointer, "volumes") {
        whole(&mut found, &volume, ("configMap", "name"), ConfigMap);
        whole(&mut found, &volume, ("secret", "secretName"), Secret);
        let claim = ("persistentVolumeClaim", "claimName");
        whole(&mut found, &volume, claim, PersistentVolumeClaim);
        let Some((pointer, projected)) = field(&volume, "projected") else {
            continue;
        };
        for source in items(projected, &pointer, "sources") {
            whole(&mut found, &source, ("configMap", "name"), ConfigMap);
            whole(&mut found, &source, ("secret", "name"), Secret);
        }
    }
    for secret in items(pod.spec, &pod.pointer, "imagePullSecrets") {
        found.extend(named(&secret, "name", Secret));
    }
    let spec = (pod.pointer.clone(), pod.spec);
    found.extend(named(&spec, "serviceAccountName", ServiceAccount));
    found
}

/// A value and its pointer.
type At<'a> = (String, &'a Value);

fn field<'a>((pointer, value): &At<'a>, name: &str) -> Option<At<'a>> {
    Some((child(pointer, name), value.get(name)?))
}

/// What the field `name` of `parent` names, as a whole.
fn named<'a>(parent: &At<'a>, name: &str, kind: Referenced) -> Option<Reference<'a>> {
    let (pointer, value) = field(parent, name)?;
    Some(Reference {
        kind,
        name: value.as_str()?,
        key: None,
        pointer,
        optional: parent.1.get("optional").and_then(Value::as_bool) == Some(true),
    })
}

/// A source of which all keys are taken, or those listed in `items`.
fn whole<'a>(
    found: &mut Vec<Reference<'a>>,
    parent: &At<'a>,
    (source, name): (&str, &str),
    kind: Referenced,
) {
    let Some(source) = field(parent, source) else {
        return;
    };
    let Some(reference) = named(&source, name, kind) else {
        return;
    };
    for item in items(source.1, &source.0, "items") {
        if let Some((pointer, key)) = field(&item, "key") {
            found.push(Reference {
                key: key.as_str(),
                pointer,
                ..reference.clone()
            });
        }
    }
    found.push(reference);
}

/// A source of which one key is taken.
fn keyed<'a>(found: &mut Vec<Reference<'a>>, parent: &At<'a>, source: &str, kind: Referenced) {
    let Some(source) = field(parent, source) else {
        return;
    };
    found.extend(named(&source, "name", kind).map(|reference| Reference {
        key: source.1.get("key").and_then(Value::as_str),
        ..reference
    }));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::sample::object;

    #[test]
    fn every_way_to_name_an_object_is_found() {
        let object = object(
            "web",
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {"spec": {
                "serviceAccountName": "account",
                "imagePullSecrets": [{"name": "pull"}],
                "initContainers": [{"envFrom": [{"configMapRef": {"name": "from-init", "optional": true}}]}],
                "containers": [{
                    "envFrom": [{"configMapRef": {"name": "all"}}, {"secretRef": {"name": "hidden"}}],
                    "env": [
                        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "a"}}},
                        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "two", "key": "b"}}},
                        {"name": "C", "value": "c"},
                    ],
                }],
                "volumes": [
                    {"name": "1", "configMap": {"name": "files", "items": [{"key": "f", "path": "f"}]}},
                    {"name": "2", "secret": {"secretName": "keys"}},
                    {"name": "3", "persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "4", "projected": {"sources": [{"secret": {"name": "p"}}, {"configMap": {"name": "q"}}]}},
                    {"name": "5", "emptyDir": {}},
                ],
            }}}}),
        );
        let pod = Pod::of(&object).unwrap();
        let mut found: Vec<String> = references(&pod)
            .iter()
            .map(|r| {
                format!(
                    "{}/{} {} {}",
                    r.kind.kind(),
                    r.name,
                    r.key.unwrap_or("*"),
                    r.optional
                )
            })
            .collect();
        found.sort();
        assert_eq!(
            found,
            [
                "ConfigMap/all * false",
                "ConfigMap/files * false",
                "ConfigMap/files f false",
                "ConfigMap/from-init * true",
                "ConfigMap/one a false",
                "ConfigMap/q * false",
                "PersistentVolumeClaim/data * false",
                "Secret/hidden * false",
                "Secret/keys * false",
                "Secret/p * false",
                "Secret/pull * false",
                "Secret/two b false",
                "ServiceAccount/account * false",
            ]
        );
        for reference in references(&pod) {
            let named = object
                .value
                .pointer(&reference.pointer)
                .and_then(Value::as_str);
            assert!(
                named == Some(reference.name) || named == reference.key,
                "{reference:?}"
            );
        }
    }
}
