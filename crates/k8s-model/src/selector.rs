//! Label selectors.

use std::collections::BTreeMap;

use serde_json::Value;

/// Labels of an object or of a pod template.
pub type Labels<'a> = BTreeMap<&'a str, &'a str>;

/// The labels of `metadata`; entries that are no strings are left out.
#[must_use]
pub fn labels(metadata: Option<&Value>) -> Labels<'_> {
    string_map(metadata.and_then(|metadata| metadata.get("labels")))
}

/// Whether a map of labels, as in a Service's `spec.selector`, selects `labels`. An empty one selects
/// everything.
#[must_use]
pub fn map_matches(selector: &Value, labels: &Labels<'_>) -> bool {
    string_map(Some(selector))
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether a LabelSelector (`matchLabels`, `matchExpressions`) selects `labels`. An empty one selects
/// everything.
#[must_use]
pub fn matches(selector: &Value, labels: &Labels<'_>) -> bool {
    selector
        .get("matchLabels")
        .is_none_or(|map| map_matches(map, labels))
        && selector
            .get("matchExpressions")
            .and_then(Value::as_array)
            .is_none_or(|all| all.iter().all(|expression| holds(expression, labels)))
}

/// An expression with an unknown operator holds for nothing.
fn holds(expression: &Value, labels: &Labels<'_>) -> bool {
    let text = |field: &str| expression.get(field).and_then(Value::as_str);
    let Some(key) = text("key") else {
        return false;
    };
    let listed = |value: &str| {
        expression
            .get("values")
            .and_then(Value::as_array)
            .is_some_and(|values| values.iter().any(|item| item.as_str() == Some(value)))
    };
    let actual = labels.get(key).copied();
    match text("operator") {
        Some("In") => actual.is_some_and(listed),
        Some("NotIn") => !actual.is_some_and(listed),
        Some("Exists") => actual.is_some(),
        Some("DoesNotExist") => actual.is_none(),
        _ => false,
    }
}

fn string_map(map: Option<&Value>) -> Labels<'_> {
    map.and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_select() {
        let metadata = json!({"labels": {"app": "web", "tier": "front"}});
        let labels = labels(Some(&metadata));
        let expression = |operator: &str, key: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (selector, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "web", "x": "y"}}), false),
            (json!({"matchLabels": {"app": "api"}}), false),
            (expression("In", "app", &["api", "web"]), true),
            (expression("In", "x", &["y"]), false),
            (expression("NotIn", "app", &["api"]), true),
            (expression("NotIn", "app", &["web"]), false),
            (expression("NotIn", "x", &["y"]), true),
            (expression("Exists", "tier", &[]), true),
            (expression("Exists", "x", &[]), false),
            (expression("DoesNotExist", "x", &[]), true),
            (expression("DoesNotExist", "app", &[]), false),
            (expression("Like", "app", &["w*"]), false),
        ] {
            assert_eq!(matches(&selector, &labels), expected, "{selector}");
        }
        assert!(map_matches(&json!({"app": "web"}), &labels));
        assert!(!map_matches(&json!({"app": "api"}), &labels));
        assert!(map_matches(&json!({}), &labels));
    }
}
