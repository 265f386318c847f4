//! What a template computes with: JSON whose every value knows the places in files it comes from.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::diagnostic::Span;
use crate::{secret, yaml};

/// A value and where it comes from; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub data: Data,
    /// The places in stack.yaml, service.yaml and environment files; none for what is computed.
    pub sources: Rc<[Span]>,
}

#[derive(Clone, Debug)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    /// May hold tokens of secrets.
    String(Rc<str>),
    List(Rc<Vec<Value>>),
    Map(Rc<BTreeMap<String, Value>>),
    /// All secrets of the environment: only one of them by its name is a value.
    Secrets(Rc<Secrets>),
    /// Not known because of a problem that is already reported, or because the branch is not taken.
    Unknown,
}

/// The secrets of an environment.
#[derive(Debug)]
pub(super) struct Secrets {
    pub by_name: BTreeMap<String, Value>,
    /// The file that declares them, for hints.
    pub declared_in: String,
}

impl Value {
    pub(super) fn new(data: Data) -> Self {
        Self {
            data,
            sources: Rc::new([]),
        }
    }

    pub(super) fn unknown() -> Self {
        Self::new(Data::Unknown)
    }

    pub(super) fn text(text: &str) -> Self {
        Self::new(Data::String(text.into()))
    }

    pub(super) fn integer(number: impl Into<serde_json::Number>) -> Self {
        Self::new(Data::Number(number.into()))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::new(Data::List(Rc::new(items)))
    }

    pub(super) fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (key.into(), value));
        Self::new(Data::Map(Rc::new(entries.collect())))
    }

    /// The same value, coming from `node`'s place where there is one.
    pub(super) fn placed_at(mut self, node: Option<&yaml::Node>) -> Self {
        if let Some(node) = node {
            self.sources = Rc::new([node.span.clone()]);
        }
        self
    }

    pub(super) fn with_sources(mut self, sources: Vec<Span>) -> Self {
        self.sources = sources.into();
        self
    }

    pub(super) fn from_node(node: &yaml::Node) -> Self {
        let data = match &node.value {
            yaml::Value::Null => Data::Null,
            yaml::Value::Bool(value) => Data::Bool(*value),
            yaml::Value::Number(number) => Data::Number(number.clone()),
            yaml::Value::String(text) => Data::String(text.as_str().into()),
            yaml::Value::List(items) => {
                Data::List(Rc::new(items.iter().map(Self::from_node).collect()))
            }
            yaml::Value::Map(entries) => Data::Map(Rc::new(
                entries
                    .iter()
                    .map(|(key, value)| (key.name.clone(), Self::from_node(value)))
                    .collect(),
            )),
        };
        Self::new(data).placed_at(Some(node))
    }

    /// A literal of a template.
    pub(super) fn from_json(json: &serde_json::Value) -> Self {
        Self::new(match json {
            serde_json::Value::Null => Data::Null,
            serde_json::Value::Bool(value) => Data::Bool(*value),
            serde_json::Value::Number(number) => Data::Number(number.clone()),
            serde_json::Value::String(text) => Data::String(text.as_str().into()),
            serde_json::Value::Array(items) => {
                Data::List(Rc::new(items.iter().map(Self::from_json).collect()))
            }
            serde_json::Value::Object(entries) => Data::Map(Rc::new(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), Self::from_json(value)))
                    .collect(),
            )),
        })
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.data {
            Data::Null | Data::Unknown | Data::Secrets(_) => serde_json::Value::Null,
            Data::Bool(value) => (*value).into(),
            Data::Number(number) => number.clone().into(),
            Data::String(text) => (&**text).into(),
            Data::List(items) => items.iter().map(Self::to_json).collect(),
            Data::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.clone(), value.to_json()))
                .collect(),
        }
    }

    /// What to call this type in a message.
    pub(super) fn type_name(&self) -> &'static str {
        match &self.data {
            Data::Null => "null",
            Data::Bool(_) => "a boolean",
            Data::Number(number) if number.is_f64() => "a float",
            Data::Number(_) => "an integer",
            Data::String(text) if secret::is_secret(text) => "a secret",
            Data::String(_) => "a string",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
            Data::Secrets(_) => "all secrets",
            Data::Unknown => "unknown",
        }
    }

    /// What Handlebars takes for true: not null, false, 0, or empty.
    pub(super) fn is_truthy(&self, zero_is_true: bool) -> bool {
        match &self.data {
            Data::Null | Data::Unknown => false,
            Data::Bool(value) => *value,
            Data::Number(number) => zero_is_true || number.as_f64() != Some(0.0),
            Data::String(text) => !text.is_empty(),
            Data::List(items) => !items.is_empty(),
            Data::Map(entries) => !entries.is_empty(),
            Data::Secrets(secrets) => !secrets.by_name.is_empty(),
        }
    }

    /// Whether it is a string that refers to a secret.
    pub(super) fn is_secret(&self) -> bool {
        matches!(&self.data, Data::String(text) if secret::is_secret(text))
    }

    /// Whether a secret is anywhere in it.
    pub(super) fn holds_secret(&self) -> bool {
        match &self.data {
            Data::List(items) => items.iter().any(Self::holds_secret),
            Data::Map(entries) => entries.values().any(Self::holds_secret),
            Data::Secrets(_) => true,
            _ => self.is_secret(),
        }
    }

    /// Whether the map of all secrets is it or in it, as in the context as a whole.
    pub(super) fn holds_all_secrets(&self) -> bool {
        match &self.data {
            Data::Secrets(_) => true,
            Data::List(items) => items.iter().any(Self::holds_all_secrets),
            Data::Map(entries) => entries.values().any(Self::holds_all_secrets),
            _ => false,
        }
    }

    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.data, Data::Unknown)
    }

    /// The places of this value and of all inside it.
    pub(super) fn all_sources(&self) -> Vec<Span> {
        let mut sources = Vec::new();
        self.collect_sources(&mut sources);
        sources
    }

    fn collect_sources(&self, into: &mut Vec<Span>) {
        for source in self.sources.iter() {
            if !into.contains(source) {
                into.push(source.clone());
            }
        }
        match &self.data {
            Data::List(items) => items.iter().for_each(|item| item.collect_sources(into)),
            Data::Map(entries) => entries.values().for_each(|item| item.collect_sources(into)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnostic::SourceFile;

    #[test]
    fn values_keep_their_types_and_places() {
        let file = SourceFile::new("stack.yaml", "a: [1, x]\nb: null\n");
        let value = Value::from_node(&yaml::document(&file).unwrap());
        assert_eq!(value.to_json(), json!({"a": [1, "x"], "b": null}));
        let Data::Map(entries) = &value.data else {
            panic!("{value:?}");
        };
        let places: Vec<String> = entries["a"]
            .all_sources()
            .iter()
            .map(Span::to_string)
            .collect();
        assert_eq!(
            places,
            ["stack.yaml:1:4", "stack.yaml:1:5", "stack.yaml:1:8"]
        );
    }

    #[test]
    fn truth_is_that_of_handlebars() {
        for (json, truthy) in [
            (json!(null), false),
            (json!(false), false),
            (json!(0), false),
            (json!(""), false),
            (json!([]), false),
            (json!({}), false),
            (json!(true), true),
            (json!(-1), true),
            (json!(0.5), true),
            (json!("false"), true),
            (json!([0]), true),
        ] {
            assert_eq!(Value::from_json(&json).is_truthy(false), truthy, "{json}");
        }
        assert!(Value::from_json(&json!(0)).is_truthy(true));
    }

    #[test]
    fn keys_are_in_order_whatever_order_they_are_written_in() {
        // `serde_json/preserve_order` would make objects depend on the order of insertion.
        let json: serde_json::Value = serde_json::from_str(r#"{"b": 1, "a": 2}"#).unwrap();
        assert_eq!(json.to_string(), r#"{"a":2,"b":1}"#);
    }
}
