//! How an environment changes a service: maps merge, lists and secrets replace, null removes, and a key
//! that nobody declared is an error. Pure.

use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::yaml::{Node, Value};

/// An environment sets a key that the service does not have.
const UNDECLARED: Code = Code::new("S0120");

/// Keys of a service that an environment replaces as a whole: their parts make no sense together.
const REPLACED: &[&str] = &["build"];
/// Maps whose keys the service declares; in the others the format says which keys exist.
const DECLARED: &[&str] = &["values", "env", "ports", "forward", "volumes"];

/// `base` with `overlay` on top: maps merge, everything else replaces, null removes.
#[must_use]
pub(super) fn merge(base: Node, overlay: &Node) -> Node {
    let (Value::Map(mut entries), Value::Map(changes)) = (base.value, &overlay.value) else {
        return overlay.clone();
    };
    for (key, change) in changes {
        let position = entries.iter().position(|(name, _)| name.name == key.name);
        match (position, &change.value) {
            (Some(position), Value::Null) => {
                entries.remove(position);
            }
            (Some(position), _) => {
                let (_, old) = entries.remove(position);
                entries.insert(position, (key.clone(), merge(old, change)));
            }
            (None, Value::Null) => {}
            (None, _) => entries.push((key.clone(), without_nulls(change))),
        }
    }
    Node {
        span: overlay.span.clone(),
        value: Value::Map(entries),
    }
}

/// A map that stands where nothing was: its nulls have nothing to remove.
fn without_nulls(node: &Node) -> Node {
    let Value::Map(entries) = &node.value else {
        return node.clone();
    };
    let kept = entries
        .iter()
        .filter(|(_, value)| value.value != Value::Null)
        .map(|(key, value)| (key.clone(), without_nulls(value)))
        .collect();
    Node {
        span: node.span.clone(),
        value: Value::Map(kept),
    }
}

/// A service's file with one environment's `services.<name>` on top. `declared` is the service as its own
/// file has it, nulls included: a key with null is declared and absent.
pub(super) fn service(
    base: Node,
    overlay: &Node,
    declared: &Node,
    problems: &mut Vec<Diagnostic>,
) -> Node {
    for (key, change) in overlay.entries() {
        if DECLARED.contains(&key.name.as_str())
            && let Some(declared) = declared.get(&key.name)
        {
            undeclared(&key.name, change, declared, problems);
        }
    }
    let (replaced, merged): (Vec<_>, Vec<_>) = overlay
        .entries()
        .iter()
        .cloned()
        .partition(|(key, _)| REPLACED.contains(&key.name.as_str()));
    let rest = Node {
        span: overlay.span.clone(),
        value: Value::Map(merged),
    };
    let mut result = merge(base, &rest);
    if let Value::Map(entries) = &mut result.value {
        for (key, value) in replaced {
            entries.retain(|(name, _)| name.name != key.name);
            entries.push((key, value));
        }
    }
    result
}

/// Reports the keys of `change` that `declared` does not have, on every level; a map that is declared empty
/// takes any.
fn undeclared(path: &str, change: &Node, declared: &Node, problems: &mut Vec<Diagnostic>) {
    let known = || declared.entries().iter().map(|(key, _)| key.name.as_str());
    for (key, value) in change.entries() {
        match declared.get(&key.name) {
            Some(inner) if !inner.entries().is_empty() => {
                undeclared(&format!("{path}.{}", key.name), value, inner, problems);
            }
            Some(_) => {}
            None => {
                let message = format!("the service declares no `{path}.{}`", key.name);
                let problem = Diagnostic::error(UNDECLARED, message)
                    .at(&key.span, "this would override nothing");
                problems.push(match did_you_mean(&key.name, known()) {
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None => problem.hint(format!(
                        "declare it in the service's file first, under `{path}`: `{}: null`",
                        key.name
                    )),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceFile;
    use crate::yaml::document;

    fn node(name: &str, text: &str) -> Node {
        document(&SourceFile::new(name, text)).unwrap()
    }

    #[test]
    fn maps_merge_lists_replace_and_null_removes() {
        let base = node("base", "a: {x: 1, z: 2}\nl: [1, 2]\ngone: 1\n");
        let merged = merge(
            base,
            &node(
                "over",
                "a: {z: 3}\nl: [9]\ngone: null\nnew: {k: 1, nothing: null}\n",
            ),
        );
        assert_eq!(
            merged.to_json(),
            serde_json::json!({"a": {"x": 1, "z": 3}, "l": [9], "new": {"k": 1}})
        );
        assert_eq!(
            merged.at(["a", "z"]).unwrap().span.to_string(),
            "over:1:8",
            "the value's own place"
        );
        assert_eq!(merged.at(["a", "x"]).unwrap().span.to_string(), "base:1:8");
    }

    #[test]
    fn only_declared_keys_can_be_overridden() {
        let declared = node(
            "service.yaml",
            "values: {replicas: 1, extra: null}\nbuild: {cargo: web}\n",
        );
        let mut problems = Vec::new();
        let overlay = node(
            "env",
            "values: {replcas: 3, extra: 1}\nbuild: {image: web:1}\n",
        );
        let merged = service(declared.clone(), &overlay, &declared, &mut problems);
        assert_eq!(
            merged.get("build").unwrap().to_json(),
            serde_json::json!({"image": "web:1"}),
            "replaced as a whole"
        );
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].message,
            "the service declares no `values.replcas`"
        );
        assert_eq!(problems[0].hints, ["did you mean `replicas`?"]);
        assert_eq!(problems[0].labels[0].span.to_string(), "env:1:10");
    }

    #[test]
    fn keys_are_declared_on_every_level() {
        let declared = node("service.yaml", "values: {auto: {max: 3}, free: {}}\n");
        let mut problems = Vec::new();
        let overlay = node("env", "values: {auto: {mx: 9}, free: {any: 1}}\n");
        let merged = service(declared.clone(), &overlay, &declared, &mut problems);
        assert_eq!(
            merged.at(["values", "free", "any"]).unwrap().to_json(),
            serde_json::json!(1)
        );
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(
            problems[0].message,
            "the service declares no `values.auto.mx`"
        );
        assert_eq!(problems[0].hints, ["did you mean `max`?"]);
    }
}
