//! The OpenAPI document of a service, read for what it promises.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::body::Body;
use super::path::{Pattern, Segment};
use crate::problem::CONTENT_TYPE;

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "patch", "head", "options", "trace",
];

/// What a service promises.
#[derive(Debug)]
pub(super) struct Document {
    whole: Value,
    operations: Vec<Operation>,
}

/// One method on one path.
#[derive(Debug)]
pub(super) struct Operation {
    /// In capitals.
    pub(super) method: String,
    pub(super) path: Pattern,
    /// Examples by the name of the parameter in the path.
    pub(super) in_path: BTreeMap<String, String>,
    /// Names and examples.
    pub(super) in_query: Vec<(String, String)>,
    pub(super) in_header: Vec<String>,
    pub(super) body: Option<Body>,
    answers: BTreeMap<u16, Answers>,
}

/// What may be answered with one status.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) headers: Vec<String>,
    /// Content types, and what JSON of each looks like.
    pub(super) content: Vec<(String, Validator)>,
}

impl Document {
    /// # Panics
    /// When it is none of OpenAPI 3.1, or a schema is none.
    pub(super) fn read(whole: &Value) -> Self {
        let version = whole["openapi"].as_str().unwrap_or_default();
        assert!(version.starts_with("3.1."), "OpenAPI {version}");
        let mut operations = Vec::new();
        for (path, item) in whole["paths"].as_object().expect("paths") {
            for method in METHODS {
                if let Some(operation) = item.get(method) {
                    operations.push(Operation::read(whole, path, method, operation));
                }
            }
        }
        Self {
            whole: whole.clone(),
            operations,
        }
    }

    pub(super) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Sorted, each once.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let paths: BTreeSet<&str> = self.operations.iter().map(|op| op.path.as_str()).collect();
        paths.into_iter()
    }

    /// # Panics
    /// When there is no such path.
    pub(super) fn example_path(&self, path: &str) -> String {
        let mut operations = self.operations.iter();
        let operation = operations.find(|operation| operation.path.as_str() == path);
        operation.expect("the path is documented").example_path()
    }

    /// The operations on the pattern that a path fits best.
    pub(super) fn at(&self, path: &str) -> Vec<&Operation> {
        let fits = |operation: &&Operation| operation.path.fits(path);
        let fitting: Vec<&Operation> = self.operations.iter().filter(fits).collect();
        let literals = fitting.iter().map(|operation| operation.path.literals());
        let most = literals.max().unwrap_or_default();
        let best = |operation: &&Operation| operation.path.literals() == most;
        fitting.into_iter().filter(best).collect()
    }

    /// The document by itself.
    ///
    /// # Panics
    /// Where it says too little, or what is not so.
    pub(super) fn check(&self) {
        for key in ["title", "version", "description"] {
            assert!(self.whole["info"][key].is_string(), "info has no {key}");
        }
        self.check_references(&self.whole);
        let mut ids = BTreeSet::new();
        for operation in &self.operations {
            let item = &self.whole["paths"][operation.path.as_str()];
            let text = &item[operation.method.to_lowercase()];
            let name = operation.name();
            let id = text["operationId"].as_str();
            assert!(
                id.is_some_and(|id| ids.insert(id)),
                "{name}: operationId {id:?}"
            );
            assert!(text["summary"].is_string(), "{name} has no summary");
            operation.check(&text["responses"]);
        }
    }

    fn check_references(&self, value: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap_or_default();
                    let found = self.whole.pointer(pointer);
                    assert!(found.is_some(), "{reference} leads nowhere");
                }
                map.values().for_each(|value| self.check_references(value));
            }
            Value::Array(values) => values.iter().for_each(|value| self.check_references(value)),
            _ => {}
        }
    }
}

impl Operation {
    fn read(whole: &Value, path: &str, method: &str, text: &Value) -> Self {
        let parameters = text["parameters"].as_array().cloned().unwrap_or_default();
        let of = |place: &str| {
            let there = parameters.iter().filter(move |it| it["in"] == place);
            let name = |it: &Value| it["name"].as_str().unwrap_or_default().to_owned();
            let both = there.map(move |it| (name(it), example(whole, it)));
            both.collect::<Vec<(String, String)>>()
        };
        let answers = text["responses"].as_object().expect("responses");
        let answers = answers.iter().filter_map(|(status, answer)| {
            // What is left is `default`, which says nothing about a status.
            Some((status.parse().ok()?, Answers::read(whole, answer)))
        });
        Self {
            method: method.to_uppercase(),
            path: Pattern::new(path),
            in_path: of("path").into_iter().collect(),
            in_query: of("query"),
            in_header: of("header").into_iter().map(|(name, _)| name).collect(),
            body: Body::read(whole, &text["requestBody"]),
            answers: answers.collect(),
        }
    }

    /// `PUT /hello/{user}`
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path.as_str())
    }

    pub(super) fn answers(&self, status: u16) -> Option<&Answers> {
        self.answers.get(&status)
    }

    pub(super) fn example_path(&self) -> String {
        let segments = self.path.segments().map(|segment| match segment {
            Segment::Literal(text) => text,
            Segment::Parameter(name) => self.in_path.get(name).map_or("x", String::as_str),
        });
        format!("/{}", segments.collect::<Vec<_>>().join("/"))
    }

    fn check(&self, responses: &Value) {
        let name = self.name();
        assert!(
            self.answers.keys().any(|status| *status < 400),
            "{name} never succeeds"
        );
        let default = &responses["default"]["$ref"];
        assert_eq!(default, "#/components/responses/Problem", "{name}");
        for (status, answers) in self.answers.range(400..) {
            let kinds = answers.content.iter().map(|(kind, _)| kind.as_str());
            let problem = kinds.clone().any(|kind| kind == CONTENT_TYPE);
            assert!(problem, "{name}: {status} is no problem");
            // Readiness has reasons instead.
            let others = kinds.filter(|kind| *kind != CONTENT_TYPE).count();
            assert!(
                others == 0 || self.path.as_str() == "/readyz",
                "{name}: {status}"
            );
            let schema = &responses[status.to_string()]["content"][CONTENT_TYPE]["schema"];
            let codes = schema["allOf"][1]["properties"]["code"]["enum"].as_array();
            assert!(
                codes.is_some_and(|codes| !codes.is_empty()),
                "{name}: {status} has no codes"
            );
        }
        for segment in self.path.segments() {
            if let Segment::Parameter(parameter) = segment {
                let there = self.in_path.contains_key(parameter);
                assert!(there, "{name}: {parameter} is not documented");
            }
        }
    }
}

impl Answers {
    fn read(whole: &Value, answer: &Value) -> Self {
        let content = answer["content"].as_object().cloned().unwrap_or_default();
        let content = content.into_iter().map(|(kind, content)| {
            // References start at the root.
            let schema = json!({ "allOf": [content["schema"]], "components": whole["components"] });
            let validator = jsonschema::validator_for(&schema);
            (
                kind,
                validator.unwrap_or_else(|error| panic!("no schema: {error}: {schema}")),
            )
        });
        let headers = answer["headers"].as_object().cloned().unwrap_or_default();
        Self {
            content: content.collect(),
            headers: headers.into_iter().map(|(name, _)| name).collect(),
        }
    }
}

/// What a parameter may be.
fn example(whole: &Value, parameter: &Value) -> String {
    match &parameter["example"] {
        Value::Null => match super::body::example(whole, &parameter["schema"]) {
            Value::String(text) => text,
            other => other.to_string(),
        },
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
