//! What differs between a live object and the same object after a trial run of applying.
//!
//! Items of lists are matched by what names them (`name`, a port's number, a mount's path …), so that an
//! inserted container does not make all others differ.

use k8s_model::pointer::{child, item, push_item, push_key};
use serde_json::{Map, Value};

use crate::manifest::Object;

use super::change::FieldChange;

/// Fields that the server keeps for itself.
const SERVER_OWNED: [&str; 6] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// What `kubectl apply` remembers; in a Secret it holds the values.
const LAST_APPLIED: &str =
    "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
/// Fields that name the items of a list, tried in this order.
const KEYS: [&[&str]; 9] = [
    &["name"],
    &["containerPort", "protocol"],
    &["port", "protocol"],
    &["mountPath"],
    &["devicePath"],
    &["key"],
    &["host"],
    &["uid"],
    &["ip"],
];

/// All fields that differ, in the order of their paths in the new object; fields of `live` that go come
/// where they stood. `desired` gives the changes their origins.
#[must_use]
pub fn diff(live: &Value, applied: &Value, desired: Option<&Object>) -> Vec<FieldChange> {
    let is_secret = applied["kind"] == "Secret" && applied["apiVersion"] == "v1";
    let mut diff = Diff {
        desired,
        is_secret,
        found: Vec::new(),
    };
    let root = Place {
        path: String::new(),
        pointer: String::new(),
        live_pointer: String::new(),
        wanted: desired.map(|object| (String::new(), &object.value)),
    };
    diff.value(&root, Some(live), Some(applied));
    diff.found
}

/// A field on both sides and in the desired object.
struct Place<'a> {
    path: String,
    pointer: String,
    live_pointer: String,
    /// In the desired object, where indices of lists can be others.
    wanted: Option<(String, &'a Value)>,
}

struct Diff<'a> {
    desired: Option<&'a Object>,
    is_secret: bool,
    found: Vec<FieldChange>,
}

impl<'a> Diff<'a> {
    fn value(&mut self, place: &Place<'a>, live: Option<&Value>, applied: Option<&Value>) {
        // The server takes null for "not there".
        let live = live.filter(|value| !value.is_null());
        let applied = applied.filter(|value| !value.is_null());
        match (live, applied) {
            (None, None) => {}
            (Some(live), Some(applied)) if live == applied => {}
            (Some(Value::Object(live)), Some(Value::Object(applied))) => {
                self.maps(place, live, applied)
            }
            (Some(Value::Array(live)), Some(Value::Array(applied))) => {
                self.lists(place, live, applied)
            }
            (live, applied) => self.report(place, live, applied),
        }
    }

    fn maps(&mut self, place: &Place<'a>, live: &Map<String, Value>, applied: &Map<String, Value>) {
        let mut keys: Vec<&String> = applied.keys().chain(live.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let ignored = match place.pointer.as_str() {
                "" => key == "status",
                "/metadata" => SERVER_OWNED.contains(&key.as_str()),
                _ => false,
            };
            if !ignored {
                self.value(&place.field(key), live.get(key), applied.get(key));
            }
        }
    }

    fn lists(&mut self, place: &Place<'a>, live: &[Value], applied: &[Value]) {
        let Some(keys) = KEYS
            .iter()
            .find(|keys| names_all(keys, live) && names_all(keys, applied))
        else {
            return self.unnamed(place, live, applied);
        };
        let before = self.found.len();
        let position = |items: &[Value], name: &str| {
            items
                .iter()
                .position(|item| name_of(item, keys).as_deref() == Some(name))
        };
        let names = |items: &[Value]| -> Vec<String> {
            items
                .iter()
                .filter_map(|item| name_of(item, keys))
                .collect()
        };
        for (index, name) in names(applied).iter().enumerate() {
            let live_index = position(live, name);
            let item = place.item(name, (index, live_index.unwrap_or(index)), |wanted| {
                position(wanted, name)
            });
            self.value(
                &item,
                live_index.map(|index| &live[index]),
                applied.get(index),
            );
        }
        for (index, name) in names(live).iter().enumerate() {
            if position(applied, name).is_none() {
                let item = place.item(name, (index, index), |_| None);
                self.value(&item, live.get(index), None);
            }
        }
        // The order matters in some lists (init containers, environment variables that use others).
        if self.found.len() == before {
            let order = |items: &[Value]| Value::from(names(items));
            self.report_values(place, Some(order(live)), Some(order(applied)));
        }
    }

    /// Lists of plain values are compared as a whole, others item by item.
    fn unnamed(&mut self, place: &Place<'a>, live: &[Value], applied: &[Value]) {
        let plain = |item: &Value| !item.is_object() && !item.is_array();
        if live.iter().chain(applied).all(plain) {
            return self.report_values(place, Some(live.into()), Some(applied.into()));
        }
        for index in 0..live.len().max(applied.len()) {
            let item = place.item(&index.to_string(), (index, index), |_| Some(index));
            self.value(&item, live.get(index), applied.get(index));
        }
    }

    fn report(&mut self, place: &Place<'a>, live: Option<&Value>, applied: Option<&Value>) {
        self.report_values(place, live.cloned(), applied.cloned());
    }

    fn report_values(&mut self, place: &Place<'a>, from: Option<Value>, to: Option<Value>) {
        let hidden = self.hides(&place.pointer);
        let show =
            |value: Option<Value>| value.map(|value| if hidden { redacted(value) } else { value });
        let origin = place
            .wanted
            .as_ref()
            .filter(|(pointer, _)| {
                self.desired
                    .is_some_and(|object| !object.origins.is_filled_in(pointer))
            })
            .and_then(|(pointer, _)| self.desired?.origins.get(pointer))
            .map(|origin| origin.place().clone());
        let pointer = if to.is_some() {
            &place.pointer
        } else {
            &place.live_pointer
        };
        self.found.push(FieldChange {
            path: place.path.clone(),
            pointer: pointer.clone(),
            from: show(from),
            to: show(to),
            origin,
        });
    }

    fn hides(&self, pointer: &str) -> bool {
        let inside = |part: &str| {
            pointer
                .strip_prefix(part)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.is_secret
            && (inside("/data")
                || inside("/stringData")
                || inside(LAST_APPLIED)
                || LAST_APPLIED.starts_with(pointer))
    }
}

impl<'a> Place<'a> {
    fn field(&self, key: &str) -> Self {
        let mut path = self.path.clone();
        push_key(&mut path, key);
        let wanted = |key: &str| {
            let (pointer, value) = self.wanted.as_ref()?;
            Some((child(pointer, key), value.get(key)?))
        };
        // The server turns a Secret's texts into `data`.
        let texts = || wanted("stringData").filter(|_| self.pointer.is_empty() && key == "data");
        Self {
            path,
            pointer: child(&self.pointer, key),
            live_pointer: child(&self.live_pointer, key),
            wanted: wanted(key).or_else(texts),
        }
    }

    fn item(
        &self,
        name: &str,
        (index, live_index): (usize, usize),
        wanted_index: impl Fn(&[Value]) -> Option<usize>,
    ) -> Self {
        let mut path = self.path.clone();
        push_item(&mut path, name);
        let wanted = self.wanted.as_ref().and_then(|(pointer, value)| {
            let items = value.as_array()?;
            let index = wanted_index(items)?;
            Some((item(pointer, index), items.get(index)?))
        });
        Self {
            path,
            pointer: item(&self.pointer, index),
            live_pointer: item(&self.live_pointer, live_index),
            wanted,
        }
    }
}

/// What an item is called by these fields; a port without a protocol is one of TCP.
fn name_of(item: &Value, keys: &[&str]) -> Option<String> {
    let parts: Vec<String> = keys
        .iter()
        .map(|key| match item.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            None if *key == "protocol" && item.is_object() => Some("TCP".to_owned()),
            _ => None,
        })
        .collect::<Option<_>>()?;
    Some(parts.join("/"))
}

/// Whether these fields give every item a name of its own.
fn names_all(keys: &[&str], items: &[Value]) -> bool {
    let names: Option<std::collections::BTreeSet<String>> =
        items.iter().map(|item| name_of(item, keys)).collect();
    names.is_some_and(|names| names.len() == items.len())
}

/// The shape of the value without its texts.
fn redacted(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| (key, redacted(value)))
                .collect(),
        ),
        _ => "<secret>".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::diagnostic::{SourceFile, Span};
    use crate::manifest::Origin;
    use crate::manifest::sample::object;

    /// The changes as `path: from → to`.
    fn changes(live: Value, applied: Value) -> Vec<String> {
        let shown =
            |value: &Option<Value>| value.as_ref().map_or("none".to_owned(), Value::to_string);
        diff(&live, &applied, None)
            .iter()
            .map(|change| {
                format!(
                    "{}: {} → {}",
                    change.path,
                    shown(&change.from),
                    shown(&change.to)
                )
            })
            .collect()
    }

    fn containers(list: Value) -> Value {
        json!({"spec": {"containers": list}})
    }

    #[test]
    fn fields_differ_by_their_paths() {
        for (live, applied, expected) in [
            (json!({"a": 1}), json!({"a": 1}), vec![]),
            (json!({"a": null}), json!({}), vec![]),
            (
                json!({"a": 1, "b": 1}),
                json!({"a": 2, "c": 3}),
                vec!["a: 1 → 2", "b: 1 → none", "c: none → 3"],
            ),
            (
                json!({"metadata": {"labels": {"a/b": "x"}}}),
                json!({"metadata": {"labels": {"a/b": "y"}}}),
                vec![r#"metadata.labels[a/b]: "x" → "y""#],
            ),
            (
                json!({"args": ["a", "b"]}),
                json!({"args": ["a"]}),
                vec![r#"args: ["a","b"] → ["a"]"#],
            ),
            (
                json!({"a": [1]}),
                json!({"a": {"b": 1}}),
                vec![r#"a: [1] → {"b":1}"#],
            ),
            (
                json!({"rules": [{"x": [1]}, {"x": [2]}]}),
                json!({"rules": [{"x": [3]}]}),
                vec!["rules[0].x: [1] → [3]", r#"rules[1]: {"x":[2]} → none"#],
            ),
        ] {
            assert_eq!(changes(live, applied), expected);
        }
    }

    #[test]
    fn items_are_matched_by_what_names_them() {
        for (live, applied, expected) in [
            (
                json!([{"name": "web", "image": "1"}]),
                json!([{"name": "proxy", "image": "p"}, {"name": "web", "image": "2"}]),
                vec![
                    r#"spec.containers[proxy]: none → {"image":"p","name":"proxy"}"#,
                    r#"spec.containers[web].image: "1" → "2""#,
                ],
            ),
            (
                json!([{"name": "web"}, {"name": "old", "image": "o"}]),
                json!([{"name": "web"}]),
                vec![r#"spec.containers[old]: {"image":"o","name":"old"} → none"#],
            ),
            (
                json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP", "name": "a"}]),
                json!([{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP", "name": "b"}]),
                vec![
                    r#"spec.containers[53/TCP].protocol: none → "TCP""#,
                    r#"spec.containers[53/UDP].name: "a" → "b""#,
                ],
            ),
            (
                json!([{"mountPath": "/a", "name": "v"}, {"mountPath": "/b", "name": "v"}]),
                json!([{"mountPath": "/a", "name": "w"}, {"mountPath": "/b", "name": "v"}]),
                vec![r#"spec.containers[/a].name: "v" → "w""#],
            ),
            (
                json!([{"name": "a"}, {"name": "b"}]),
                json!([{"name": "b"}, {"name": "a"}]),
                vec![r#"spec.containers: ["a","b"] → ["b","a"]"#],
            ),
        ] {
            assert_eq!(changes(containers(live), containers(applied)), expected);
        }
    }

    #[test]
    fn what_the_server_keeps_for_itself_is_left_out() {
        let live = json!({
            "metadata": {
                "creationTimestamp": "1", "generation": 1, "managedFields": [1], "resourceVersion": "1",
                "selfLink": "1", "uid": "1", "name": "a",
            },
            "status": {"replicas": 1},
            "spec": {"generation": 1, "status": 1},
        });
        let applied = json!({
            "metadata": {"generation": 2, "name": "a"},
            "spec": {"generation": 2, "status": 2},
        });
        assert_eq!(
            changes(live, applied),
            ["spec.generation: 1 → 2", "spec.status: 1 → 2"]
        );
    }

    #[test]
    fn values_of_secrets_are_never_shown() {
        let secret = |password: &str, more: Value| {
            let mut value = json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": {"annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": password, "other": "shown",
                }},
                "data": {"password": password},
            });
            value["data"]["more"] = more;
            value
        };
        let live = secret("b2xk", json!(null));
        assert_eq!(
            changes(live.clone(), secret("bmV3", json!("bW9yZQ=="))),
            [
                r#"data.more: none → "<secret>""#,
                r#"data.password: "<secret>" → "<secret>""#,
                r#"metadata.annotations[kubectl.kubernetes.io/last-applied-configuration]: "<secret>" → "<secret>""#,
            ]
        );
        let mut bare = secret("b2xk", json!(null));
        bare.as_object_mut().unwrap().remove("data");
        bare["metadata"] = json!({});
        let text = format!("{:?}", diff(&live, &bare, None));
        assert!(
            text.contains("<secret>") && !text.contains("b2xk"),
            "{text}"
        );
    }

    #[test]
    fn changes_know_the_line_of_the_value_even_where_indices_differ() {
        let template = SourceFile::new("d.yaml.hbs", "image: {{image}}\n");
        let values = SourceFile::new("service.yaml", "image: web:2\n");
        let container = |image: &str| json!({"name": "web", "image": image});
        let mut desired = object("web", containers(json!([container("web:2")])));
        desired.origins.insert(
            "/spec/containers/0/image".into(),
            Origin {
                template: Span::new(&template, 7..16),
                values: vec![Span::new(&values, 7..12)],
            },
        );
        let injected = json!({"name": "injected"});
        let live = containers(json!([container("web:1"), injected]));
        let applied = containers(json!([injected, container("web:2")]));
        let found = diff(&live, &applied, Some(&desired));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pointer, "/spec/containers/1/image");
        assert_eq!(
            found[0].origin.as_ref().unwrap().to_string(),
            "service.yaml:1:8"
        );
    }

    #[test]
    fn a_secret_is_written_as_text_and_read_as_data() {
        let secret = |field: &str, value: &str| {
            let mut secret =
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web"}});
            secret[field] = json!({ "key": value });
            secret
        };
        let mut desired = object("web", secret("stringData", "new"));
        let file = SourceFile::new("secret.yaml.hbs", "key: new");
        desired.origins.insert(
            "/stringData/key".into(),
            Origin {
                template: Span::new(&file, 5..8),
                values: Vec::new(),
            },
        );
        let found = diff(
            &secret("data", "b2xk"),
            &secret("data", "bmV3"),
            Some(&desired),
        );
        assert_eq!(found[0].pointer, "/data/key");
        assert_eq!(
            found[0].origin.as_ref().unwrap().to_string(),
            "secret.yaml.hbs:1:6"
        );
    }

    #[test]
    fn what_the_cluster_sets_has_no_origin() {
        let desired = object("web", json!({"spec": {}}));
        let found = diff(
            &json!({"spec": {"a": 1}}),
            &json!({"spec": {"a": 2}}),
            Some(&desired),
        );
        assert_eq!(found[0].origin, None);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3).prop_map(Value::from),
            "[ab]".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("(name|port|a|b)", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Maps without the entries that are null, at every depth: what the server makes of a value.
    fn without_nulls(value: &Value) -> Value {
        match value {
            Value::Object(map) => map
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
            Value::Array(items) => items.iter().map(without_nulls).collect(),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn nothing_differs_from_itself(value in json_value()) {
            prop_assert_eq!(diff(&value, &value, None), []);
        }

        #[test]
        fn what_differs_is_found(from in json_value(), to in json_value()) {
            let (from, to) = (without_nulls(&json!({"root": from})), without_nulls(&json!({"root": to})));
            let found = diff(&from, &to, None);
            // Items of a list can be null, and null is taken for "not there" wherever it stands.
            if !from.to_string().contains("null") && !to.to_string().contains("null") {
                prop_assert_eq!(found.is_empty(), from == to, "{:?}", found);
            }
            for change in &found {
                prop_assert_ne!(&change.from, &change.to);
            }
        }

        #[test]
        fn the_other_way_round_the_same_number_differs(from in json_value(), to in json_value()) {
            let (from, to) = (json!({"root": from}), json!({"root": to}));
            prop_assert_eq!(diff(&from, &to, None).len(), diff(&to, &from, None).len());
        }
    }
}
