//! Objects as they are sent: secrets in place of their tokens, and pods that roll when theirs change.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use k8s_model::ObjectRef;
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain, Span};
use crate::manifest::Object;
use crate::secret::{Encoding, SecretValues, encode, is_secret, names, reveal};
use crate::stack::SecretName;

/// A secret has no value, or is used outside a Secret.
const REVEAL: Code = Code::new("S0631");
/// Annotation of a pod template: changes with the Secrets that its pods use.
const DIGEST: &str = "stackctl.dev/secret-digest";
/// Characters of the digest; 64 bits tell all revisions of a stack apart.
const DIGEST_LENGTH: usize = 16;

/// The key of the digests, so that nobody can try out values against them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HashKey(String);

impl HashKey {
    /// Takes a key in; an empty one is for stacks without secrets of their own.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

/// Why an object cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevealError {
    /// It uses a secret that has no value.
    #[error("{object} uses secret `{secret}`, which has no value in this environment")]
    Missing {
        /// The object.
        object: Box<ObjectRef>,
        /// The secret.
        secret: SecretName,
        /// Where the object says so.
        span: Option<Span>,
    },
    /// A secret stands where anyone who may read the object would see it.
    #[error("secret `{secret}` stands in `{pointer}` of {object}, which is no Secret")]
    Outside {
        /// The object.
        object: Box<ObjectRef>,
        /// The secret.
        secret: SecretName,
        /// The field, as a JSON pointer.
        pointer: String,
        /// Where it is written.
        span: Option<Span>,
    },
}

impl Explain for RevealError {
    fn exit(&self) -> Exit {
        Exit::BadInput
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let problem = Diagnostic::error(REVEAL, self.to_string());
        let (span, hint) = match self {
            Self::Missing { secret, span, .. } => (
                span,
                format!(
                    "declare it under `secrets` of the environment: `{secret}: {{ generate: 32 }}`"
                ),
            ),
            Self::Outside { span, .. } => (
                span,
                "put it into a Secret and use `secretKeyRef`".to_owned(),
            ),
        };
        let problem = match span {
            Some(span) => problem.at(span, ""),
            None => problem,
        };
        vec![problem.hint(hint)]
    }
}

/// The objects with values in place of tokens. `stringData` becomes `data`, so that what is applied and
/// what the server keeps are alike. Pod templates of Deployments, StatefulSets and DaemonSets get a digest
/// of the Secrets among the objects that their pods refer to.
///
/// The result holds the values: it is for the cluster, not for people.
pub fn reveal_all(
    objects: Vec<Object>,
    values: &SecretValues,
    key: &HashKey,
) -> Result<Vec<Object>, RevealError> {
    let mut revealed = objects
        .into_iter()
        .map(|object| reveal_object(object, values))
        .collect::<Result<Vec<_>, _>>()?;
    let digests = Digests::of(&revealed, key);
    for object in &mut revealed {
        digests.annotate(&mut object.value);
    }
    Ok(revealed)
}

fn reveal_object(mut object: Object, values: &SecretValues) -> Result<Object, RevealError> {
    if is_secret_object(&object.value) {
        let mut data = Map::new();
        for field in ["data", "stringData"] {
            for (entry, text) in take_strings(&mut object.value, field) {
                let plain = reveal(&text, values).map_err(|missing| RevealError::Missing {
                    object: Box::new(object.reference()),
                    secret: missing.0,
                    span: span_of(&object, &pointer(field, &entry)),
                })?;
                let plain = if field == "data" {
                    plain
                } else {
                    encode(&plain, Encoding::Base64)
                };
                data.insert(entry, Value::String(plain));
            }
        }
        move_origins(&mut object, &data);
        if !data.is_empty() {
            object.value["data"] = Value::Object(data);
        }
    }
    match first_token(&object.value, String::new()) {
        None => Ok(object),
        Some((pointer, secret)) => Err(RevealError::Outside {
            object: Box::new(object.reference()),
            span: span_of(&object, &pointer),
            secret,
            pointer,
        }),
    }
}

fn is_secret_object(value: &Value) -> bool {
    value["kind"] == "Secret" && value["apiVersion"] == "v1"
}

/// Removes a map of strings from the object.
fn take_strings(value: &mut Value, field: &str) -> Vec<(String, String)> {
    let Some(Value::Object(entries)) = value
        .as_object_mut()
        .and_then(|fields| fields.remove(field))
    else {
        return Vec::new();
    };
    entries
        .into_iter()
        .filter_map(|(entry, value)| match value {
            Value::String(text) => Some((entry, text)),
            _ => None,
        })
        .collect()
}

/// What was in `stringData` is in `data` now, and comes from the same place.
fn move_origins(object: &mut Object, data: &Map<String, Value>) {
    for entry in data.keys() {
        let old = pointer("stringData", entry);
        let known = object.origins.iter().any(|(place, _)| place == old);
        if known && let Some(origin) = object.origins.get(&old).cloned() {
            object.origins.insert(pointer("data", entry), origin);
        }
    }
}

fn pointer(field: &str, entry: &str) -> String {
    format!("/{field}/{}", escape(entry))
}

fn escape(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

fn span_of(object: &Object, pointer: &str) -> Option<Span> {
    object
        .origins
        .get(pointer)
        .map(|origin| origin.place().clone())
}

/// The first string that still refers to a secret.
fn first_token(value: &Value, pointer: String) -> Option<(String, SecretName)> {
    match value {
        Value::String(text) if is_secret(text) => {
            let secret = names(text).next()?;
            Some((pointer, secret))
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| first_token(item, format!("{pointer}/{index}"))),
        Value::Object(fields) => fields
            .iter()
            .find_map(|(key, field)| first_token(field, format!("{pointer}/{}", escape(key)))),
        _ => None,
    }
}

/// What the Secrets among the objects hold, by namespace and name.
struct Digests<'a> {
    key: &'a HashKey,
    contents: BTreeMap<(String, String), String>,
}

impl<'a> Digests<'a> {
    fn of(objects: &[Object], key: &'a HashKey) -> Self {
        let contents = objects
            .iter()
            .filter(|object| is_secret_object(&object.value))
            .map(|object| {
                let value = &object.value;
                let text = |field: &str| {
                    value["metadata"][field]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned()
                };
                // A map of its own, because the order of keys in a Value depends on features.
                let data: BTreeMap<&str, &str> = value["data"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
                    .collect();
                let canonical = serde_json::json!([value["type"], data]).to_string();
                ((text("namespace"), text("name")), canonical)
            })
            .collect();
        Self { key, contents }
    }

    fn annotate(&self, object: &mut Value) {
        let rolls = matches!(
            object["kind"].as_str(),
            Some("Deployment" | "StatefulSet" | "DaemonSet")
        );
        if !rolls {
            return;
        }
        let namespace = object["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let used: BTreeMap<&str, &str> = secrets_of(&object["spec"]["template"]["spec"])
            .into_iter()
            .filter_map(|name| {
                let contents = self.contents.get(&(namespace.clone(), name.to_owned()))?;
                Some((name, contents.as_str()))
            })
            .collect();
        if used.is_empty() {
            return;
        }
        let digest = self.digest(&serde_json::json!(used).to_string());
        object["spec"]["template"]["metadata"]["annotations"][DIGEST] = digest.into();
    }

    fn digest(&self, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.0.as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        let bytes = mac.finalize().into_bytes();
        let mut hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        hex.truncate(DIGEST_LENGTH);
        hex
    }
}

/// Names of the Secrets that a pod refers to in any way.
fn secrets_of(pod: &Value) -> Vec<&str> {
    let mut found: Vec<&Value> = Vec::new();
    for volume in items(&pod["volumes"]) {
        found.push(&volume["secret"]["secretName"]);
        for source in items(&volume["projected"]["sources"]) {
            found.push(&source["secret"]["name"]);
        }
    }
    for containers in ["containers", "initContainers"] {
        for container in items(&pod[containers]) {
            for variable in items(&container["env"]) {
                found.push(&variable["valueFrom"]["secretKeyRef"]["name"]);
            }
            for source in items(&container["envFrom"]) {
                found.push(&source["secretRef"]["name"]);
            }
        }
    }
    for credentials in items(&pod["imagePullSecrets"]) {
        found.push(&credentials["name"]);
    }
    found.into_iter().filter_map(Value::as_str).collect()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnostic::SourceFile;
    use crate::manifest::{Origin, Origins};
    use crate::secret::{SecretRef, SecretValue};

    fn token(encodings: &[Encoding]) -> String {
        SecretRef {
            name: "password".parse().unwrap(),
            encodings: encodings.to_vec(),
        }
        .token()
    }

    fn values(password: &str) -> SecretValues {
        [("password".parse().unwrap(), SecretValue::new(password))].into()
    }

    fn object(value: Value) -> Object {
        Object {
            value,
            service: None,
            origins: Origins::default(),
        }
    }

    fn secret() -> Object {
        object(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web", "namespace": "shop"},
            "data": {"a": token(&[Encoding::Base64]), "b": "eA=="},
            "stringData": {"b": format!("url:{}", token(&[Encoding::Url]))},
        }))
    }

    fn deployment(pod: Value) -> Object {
        object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"template": {"metadata": {"labels": {}}, "spec": pod}},
        }))
    }

    fn digest(objects: &[Object], index: usize) -> Option<String> {
        let annotation =
            &objects[index].value["spec"]["template"]["metadata"]["annotations"][DIGEST];
        annotation.as_str().map(str::to_owned)
    }

    #[test]
    fn values_take_the_place_of_tokens_and_all_is_data() {
        let revealed = reveal_all(vec![secret()], &values("a b"), &HashKey::default()).unwrap();
        assert_eq!(
            revealed[0].value["data"],
            json!({"a": "YSBi", "b": "dXJsOmElMjBi"}),
            "stringData wins, as on the server; url:a%20b"
        );
        assert!(revealed[0].value.get("stringData").is_none());
    }

    #[test]
    fn origins_follow_into_data() {
        let file = SourceFile::new("templates/secret.yaml.hbs", "stringData:\n  b: x\n");
        let mut secret = secret();
        let origin = Origin {
            template: Span::new(&file, 14..18),
            values: Vec::new(),
        };
        secret
            .origins
            .insert("/stringData/b".to_owned(), origin.clone());
        let revealed = reveal_all(vec![secret], &values("x"), &HashKey::default()).unwrap();
        assert_eq!(revealed[0].origins.get("/data/b"), Some(&origin));
    }

    #[test]
    fn pods_change_with_the_secrets_they_use_and_only_with_those() {
        let pods = [
            json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "web"}}}]}]}),
            json!({"containers": [{"envFrom": [{"secretRef": {"name": "web"}}]}]}),
            json!({"initContainers": [{"envFrom": [{"secretRef": {"name": "web"}}]}]}),
            json!({"volumes": [{"secret": {"secretName": "web"}}]}),
            json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "web"}}]}}]}),
            json!({"imagePullSecrets": [{"name": "web"}]}),
        ];
        for pod in pods {
            let objects = || {
                vec![
                    secret(),
                    deployment(pod.clone()),
                    deployment(json!({"containers": []})),
                ]
            };
            let run = |password: &str, key: &str| {
                reveal_all(objects(), &values(password), &HashKey::new(key)).unwrap()
            };
            let first = digest(&run("one", "k"), 1).unwrap();
            assert_eq!(first.len(), 16);
            assert_eq!(digest(&run("one", "k"), 1), Some(first.clone()), "stable");
            assert_ne!(digest(&run("two", "k"), 1), Some(first.clone()), "{pod}");
            assert_ne!(digest(&run("one", "other"), 1), Some(first), "keyed");
            assert_eq!(digest(&run("one", "k"), 2), None, "uses no secret");
        }
    }

    #[test]
    fn a_secret_of_another_namespace_or_of_others_rolls_nothing() {
        let mut elsewhere = secret();
        elsewhere.value["metadata"]["namespace"] = json!("other");
        let pod = json!({"volumes": [{"secret": {"secretName": "web"}}, {"secret": {"secretName": "theirs"}}]});
        let revealed = reveal_all(
            vec![elsewhere, deployment(pod)],
            &values("x"),
            &HashKey::default(),
        )
        .unwrap();
        assert_eq!(digest(&revealed, 1), None);
    }

    #[test]
    fn a_token_outside_a_secret_is_never_sent() {
        let pod = json!({"containers": [{"env": [{"name": "P", "value": token(&[])}]}]});
        let error = reveal_all(
            vec![deployment(pod)],
            &values("hunter2"),
            &HashKey::default(),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "secret `password` stands in `/spec/template/spec/containers/0/env/0/value` of Deployment/web, which is no Secret"
        );
    }

    #[test]
    fn a_secret_without_a_value_is_named() {
        let error =
            reveal_all(vec![secret()], &SecretValues::new(), &HashKey::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Secret/web uses secret `password`, which has no value in this environment"
        );
    }
}
