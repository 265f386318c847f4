//! The shape of an environment's file, after `extends` is followed.

use oci_image::{InvalidReference, Reference};

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::yaml::{Decoder, Node, Value};

use super::model::{ClusterTarget, Environment, Registry, Secret, SecretSource};
use super::overlay;
use super::service::repository_path;
use crate::name::{EnvName, Namespace, StackName};

/// A secret names no source, or more than one.
const SECRET_SOURCE: Code = Code::new("S0122");

const KEYS: &[&str] = &[
    "extends",
    "cluster",
    "namespace",
    "registry",
    "protected",
    "values",
    "services",
    "secrets",
];

/// Merges the chain, root first: maps merge, secrets replace, null removes. `services` is left out:
/// overlays of services are applied one by one.
pub(super) fn merge_chain(chain: &[Node], decoder: &mut Decoder) -> Option<Node> {
    let mut merged: Option<Node> = None;
    for file in chain {
        if !decoder.keys(file, KEYS) {
            return None;
        }
        let own = without(file, &["extends", "services", "secrets", "cluster"]);
        let whole = |node: &Node| ["secrets", "cluster"].map(|key| (key, node.get(key).cloned()));
        let replaced = whole(file);
        let mut next = match merged.take() {
            Some(base) => overlay::merge(base, &own),
            None => own,
        };
        for (key, value) in replaced {
            if let Some(value) = value {
                replace(&mut next, file, key, value);
            }
        }
        merged = Some(next);
    }
    merged
}

/// The maps under `services` of a chain, root first, each with the service's name.
pub(super) fn service_overlays<'a>(
    chain: &'a [Node],
    service: &str,
) -> impl Iterator<Item = &'a Node> {
    let service = service.to_owned();
    chain
        .iter()
        .filter_map(move |file| file.get("services")?.get(&service))
}

fn without(node: &Node, keys: &[&str]) -> Node {
    let entries = node
        .entries()
        .iter()
        .filter(|(key, _)| !keys.contains(&key.name.as_str()))
        .cloned()
        .collect();
    Node {
        span: node.span.clone(),
        value: Value::Map(entries),
    }
}

/// Puts `cluster` in as a whole and every single secret as a whole.
fn replace(target: &mut Node, file: &Node, key: &str, value: Node) {
    let Some((name, _)) = file.entries().iter().find(|(name, _)| name.name == key) else {
        return;
    };
    let Value::Map(entries) = &mut target.value else {
        return;
    };
    let position = entries.iter().position(|(name, _)| name.name == key);
    let Some(position) = position else {
        entries.push((name.clone(), value));
        return;
    };
    match (&mut entries[position].1.value, value) {
        (
            Value::Map(old),
            Node {
                value: Value::Map(new),
                ..
            },
        ) if key == "secrets" => {
            for (secret, source) in new {
                old.retain(|(known, _)| known.name != secret.name);
                if source.value != Value::Null {
                    old.push((secret, source));
                }
            }
        }
        // `cluster` as a whole; of `secrets` a null, or what is no map and is reported when it is read.
        (_, value) => entries[position].1 = value,
    }
}

/// Reads a merged environment.
pub(super) fn decode(
    name: &EnvName,
    stack: &StackName,
    node: &Node,
    decoder: &mut Decoder,
) -> Option<Environment> {
    let cluster = match decoder.optional(node, "cluster") {
        Some(cluster) => cluster_target(cluster, decoder),
        None => {
            decoder.required(node, "cluster");
            if let Some(problem) = decoder.problems.last_mut() {
                problem
                    .hints
                    .push("`cluster: local`, or `cluster: { context: NAME, uid: UID }`".to_owned());
            }
            None
        }
    };
    let namespace = match decoder.optional(node, "namespace") {
        Some(node) => decoder.parsed::<Namespace>(node),
        None => stack.as_str().parse().ok(),
    };
    let registry = decoder
        .optional(node, "registry")
        .and_then(|node| registry(node, decoder));
    let protected = decoder
        .optional(node, "protected")
        .and_then(|node| decoder.boolean(node))
        .unwrap_or(false);
    let empty = Node {
        span: node.span.clone(),
        value: Value::Map(Vec::new()),
    };
    let values = decoder.optional(node, "values").cloned().unwrap_or(empty);
    if !matches!(values.value, Value::Map(_)) {
        decoder.wrong_type(&values, "a map");
    }
    let secrets = match decoder.optional(node, "secrets") {
        Some(node) => decoder.map(node, secret),
        None => Default::default(),
    };
    Some(Environment {
        name: name.clone(),
        span: Span::start_of(node.span.file()),
        cluster: cluster?,
        namespace: namespace?,
        registry,
        protected,
        values,
        secrets,
    })
}

fn cluster_target(node: &Node, decoder: &mut Decoder) -> Option<ClusterTarget> {
    if let Value::String(text) = &node.value {
        if text == "local" {
            return Some(ClusterTarget::Local);
        }
        decoder.bad_value(
            &node.span,
            format!("`{text}` is neither `local` nor a map with a `context`"),
        );
        return None;
    }
    if !decoder.keys(node, &["context", "uid"]) {
        return None;
    }
    let context = decoder
        .required(node, "context")
        .and_then(|node| decoder.text(node))?;
    let uid = decoder
        .optional(node, "uid")
        .and_then(|node| decoder.text(node));
    Some(ClusterTarget::Context {
        context,
        uid,
        span: node.span.clone(),
    })
}

fn registry(node: &Node, decoder: &mut Decoder) -> Option<Registry> {
    let text = decoder.text(node)?;
    let prefix = text.trim_end_matches('/');
    if prefix.contains("://") {
        decoder.bad_value(
            &node.span,
            "a registry is written without http:// or https://",
        );
        return None;
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_/:".contains(c);
    if !prefix.chars().all(allowed) {
        decoder.bad_value(
            &node.span,
            "only a-z, 0-9 and . - _ / : may stand in a registry's path",
        );
        return None;
    }
    if let Err(InvalidReference { reason, .. }) = image_below(prefix) {
        decoder.bad_value(
            &node.span,
            format!("`{text}` is no registry, which is written HOST[:PORT][/PATH]: {reason}"),
        );
        return None;
    }
    Some(Registry {
        prefix: prefix.to_owned(),
        span: node.span.clone(),
    })
}

/// The reference of an image with the longest name that a service may have: where there is this one, there are all.
fn image_below(prefix: &str) -> Result<Reference, InvalidReference> {
    let service = "x".repeat(63);
    format!("{prefix}/{service}:tag").parse()
}

fn secret(decoder: &mut Decoder, node: &Node) -> Option<Secret> {
    const SOURCES: &[&str] = &["generate", "env", "file"];
    if !decoder.keys(node, SOURCES) {
        return None;
    }
    let [(key, value)] = node.entries() else {
        decoder.report(
            Diagnostic::error(SECRET_SOURCE, "a secret has exactly one source")
                .at(&node.span, "")
                .hint("one of `generate: 32`, `env: VARIABLE`, `file: PATH`"),
        );
        return None;
    };
    let source = match key.name.as_str() {
        "generate" => {
            let length = decoder.integer(value, 8..=1024)?;
            SecretSource::Generate(usize::try_from(length).ok()?)
        }
        "env" => SecretSource::Env(decoder.text(value)?),
        "file" => SecretSource::File(repository_path(value, decoder)?),
        _ => return None,
    };
    Some(Secret {
        source,
        span: node.span.clone(),
    })
}
