//! Field paths as the API server writes them, turned into JSON pointers into the object that was sent.
//!
//! Seen on v1.20: `.spec.template.spec.containers[name="web"].image`, `spec.containers[0].image`,
//! `metadata.labels[app.kubernetes.io/name]`, `.metadata.labels.app.kubernetes.io/name`.

use serde_json::Value;

/// The pointer of the deepest field of `object` that `path` leads to; empty where it leads nowhere.
pub(super) fn pointer(path: &str, object: &Value) -> String {
    let mut pointer = String::new();
    let mut here = object;
    let mut rest = path.trim();
    while !rest.is_empty() {
        let Some((step, next, after)) = step(rest, here) else {
            break;
        };
        pointer.push('/');
        pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        here = next;
        rest = after;
    }
    pointer
}

/// One step: the key or index, the value there, and the rest of the path.
fn step<'a>(rest: &'a str, here: &'a Value) -> Option<(String, &'a Value, &'a str)> {
    if let Some(inside) = rest.strip_prefix('[') {
        return bracket(inside, here);
    }
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    // Keys may hold dots: the longest one that fits is meant.
    let (key, value) = here
        .as_object()?
        .iter()
        .filter(|(key, _)| {
            rest.strip_prefix(key.as_str())
                .is_some_and(|after| after.is_empty() || after.starts_with(['.', '[', ':', ' ']))
        })
        .max_by_key(|(key, _)| key.len())?;
    Some((key.clone(), value, &rest[key.len()..]))
}

fn bracket<'a>(inside: &'a str, here: &'a Value) -> Option<(String, &'a Value, &'a str)> {
    let (selector, after) = inside.split_once(']')?;
    match here {
        Value::Object(fields) => {
            let key = selector.trim_matches('"');
            Some((key.to_owned(), fields.get(key)?, after))
        }
        Value::Array(items) => {
            let index = selector
                .parse()
                .ok()
                .or_else(|| items.iter().position(|item| matches(item, selector)))?;
            Some((index.to_string(), items.get(index)?, after))
        }
        _ => None,
    }
}

/// Whether a list's element is the one that `name="web"` or `containerPort=80,protocol="TCP"` selects.
fn matches(item: &Value, selector: &str) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    selector.split(',').all(|term| match term.split_once('=') {
        // Defaults such as the protocol need not be written.
        Some((key, value)) => item
            .get(key)
            .is_none_or(|found| text(found) == value.trim_matches('"')),
        None => text(item) == term.trim_matches('"'),
    })
}

#[cfg(test)]
mod tests {
    use super::pointer;

    #[test]
    fn paths_lead_to_fields() {
        let object = serde_json::json!({
            "metadata": {"labels": {"app": "x", "app.kubernetes.io/name": "web"}},
            "data": {"a.conf": "", "a": ""},
            "spec": {"containers": [
                {"name": "side", "image": "x", "ports": [{"containerPort": 80}]},
                {"name": "web", "image": "y"},
            ], "args": ["one", "two"]},
        });
        for (path, expected) in [
            ("spec.containers[1].image", "/spec/containers/1/image"),
            (
                ".spec.containers[name=\"web\"].image",
                "/spec/containers/1/image",
            ),
            (
                ".spec.containers[name=\"side\"].ports[containerPort=80,protocol=\"TCP\"].containerPort",
                "/spec/containers/0/ports/0/containerPort",
            ),
            (
                ".metadata.labels.app.kubernetes.io/name",
                "/metadata/labels/app.kubernetes.io~1name",
            ),
            (
                "metadata.labels[app.kubernetes.io/name]",
                "/metadata/labels/app.kubernetes.io~1name",
            ),
            ("data[a.conf]", "/data/a.conf"),
            (".spec.args[\"two\"]", "/spec/args/1"),
            ("spec.replicas", "/spec"),
            ("nowhere", ""),
        ] {
            assert_eq!(pointer(path, &object), expected, "{path}");
        }
    }
}
