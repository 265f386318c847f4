//! JSON pointers (RFC 6901) and how they are shown to people.

use serde_json::Value;

/// The pointer of the field `key` of what is at `parent`.
#[must_use]
pub fn child(parent: &str, key: &str) -> String {
    if key.contains(['~', '/']) {
        format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"))
    } else {
        format!("{parent}/{key}")
    }
}

/// The pointer of the item `index` of the list at `parent`.
#[must_use]
pub fn item(parent: &str, index: usize) -> String {
    format!("{parent}/{index}")
}

/// The steps of a pointer, unescaped.
pub fn steps(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer
        .split('/')
        .skip(1)
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
}

/// The pointer as a path: `spec.containers[web].image`. Items of lists are named by their `name` or
/// `key` in `root`, else counted from 0; keys that are no plain words stand in brackets.
#[must_use]
pub fn path(pointer: &str, root: &Value) -> String {
    let mut path = String::new();
    let mut here = Some(root);
    for step in steps(pointer) {
        here = match here {
            Some(Value::Array(items)) => {
                let item = step.parse().ok().and_then(|index: usize| items.get(index));
                let name = item.and_then(|item| {
                    ["name", "key"]
                        .iter()
                        .find_map(|field| item.get(field)?.as_str())
                });
                push_item(&mut path, name.unwrap_or(&step));
                item
            }
            other => {
                push_key(&mut path, &step);
                other.and_then(|map| map.get(&step))
            }
        };
    }
    path
}

/// Appends a field to a path.
pub fn push_key(path: &mut String, key: &str) {
    let plain = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$'));
    if !plain {
        return push_item(path, key);
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// Appends an item of a list, or a key that is no plain word, to a path.
pub fn push_item(path: &mut String, name: &str) {
    path.push('[');
    path.push_str(name);
    path.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_escaped_and_read_back() {
        let pointer = child(
            &child("/metadata/labels", "app.kubernetes.io/name"),
            "a~b/c",
        );
        assert_eq!(pointer, "/metadata/labels/app.kubernetes.io~1name/a~0b~1c");
        assert_eq!(
            steps(&pointer).collect::<Vec<_>>(),
            ["metadata", "labels", "app.kubernetes.io/name", "a~b/c"]
        );
        assert_eq!(steps("").count(), 0);
        assert_eq!(steps("/").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn paths_name_the_items_of_lists() {
        let root = serde_json::json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "web"}},
            "spec": {"containers": [{"name": "web", "args": ["x"], "image": "i"}, {}]},
        });
        for (pointer, expected) in [
            ("", ""),
            (
                "/metadata/labels/app.kubernetes.io~1name",
                "metadata.labels[app.kubernetes.io/name]",
            ),
            ("/spec/containers/0/image", "spec.containers[web].image"),
            ("/spec/containers/0/args/0", "spec.containers[web].args[0]"),
            ("/spec/containers/1/image", "spec.containers[1].image"),
            ("/spec/missing/0/deep", "spec.missing.0.deep"),
        ] {
            assert_eq!(path(pointer, &root), expected, "{pointer}");
        }
    }
}
