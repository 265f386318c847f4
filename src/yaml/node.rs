//! YAML whose scalars have types, with the place of every value.

use crate::diagnostic::{Code, Diagnostic, Span};

use super::scalar::{Plain, plain};
use super::tree::{Scalar, Style, Tree, TreeKind};

/// A scalar that YAML readers disagree on, or that does not fit.
const AMBIGUOUS: Code = Code::new("S0103");
/// A key that is no string.
const BAD_KEY: Code = Code::new("S0107");

/// A typed value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where.
    pub span: Span,
    /// What.
    pub value: Value,
}

/// The types of a [`Node`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing; in an overlay: remove what is below.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer or a float.
    Number(serde_json::Number),
    /// Text.
    String(String),
    /// A sequence.
    List(Vec<Node>),
    /// Pairs in the order of the file; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// The key of a pair and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The text.
    pub name: String,
    /// Where.
    pub span: Span,
}

impl Node {
    /// What to call this type in a message.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(number) if number.is_f64() => "a number",
            Value::Number(_) => "an integer",
            Value::String(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The value under `key`, where this is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|(name, _)| name.name == key)
            .map(|(_, node)| node)
    }

    /// The value at a path of keys and list indices.
    #[must_use]
    pub fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Self> {
        path.into_iter()
            .try_fold(self, |node, step| match &node.value {
                Value::List(items) => items.get(step.parse::<usize>().ok()?),
                _ => node.get(step),
            })
    }

    /// The pairs of a map; nothing for other types.
    #[must_use]
    pub fn entries(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value without places.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => serde_json::Value::Number(number.clone()),
            Value::String(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.name.clone(), value.to_json()))
                .collect(),
        }
    }
}

/// Gives every scalar its type; all refused ones are reported at once.
pub fn resolve(tree: Tree) -> Result<Node, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let node = node(tree, &mut problems);
    if problems.is_empty() {
        Ok(node)
    } else {
        Err(problems)
    }
}

fn node(tree: Tree, problems: &mut Vec<Diagnostic>) -> Node {
    let Tree { span, kind } = tree;
    let value = match kind {
        TreeKind::Scalar(text) => scalar(text, &span, problems),
        TreeKind::List(items) => {
            Value::List(items.into_iter().map(|item| node(item, problems)).collect())
        }
        TreeKind::Map(pairs) => Value::Map(
            pairs
                .into_iter()
                .filter_map(|(key, value)| Some((map_key(key, problems)?, node(value, problems))))
                .collect(),
        ),
    };
    Node { span, value }
}

fn map_key(key: Tree, problems: &mut Vec<Diagnostic>) -> Option<Key> {
    let TreeKind::Scalar(text) = key.kind else {
        problems
            .push(Diagnostic::error(BAD_KEY, "a list or a map cannot be a key").at(&key.span, ""));
        return None;
    };
    match scalar(text, &key.span, problems) {
        Value::String(name) => Some(Key {
            name,
            span: key.span,
        }),
        Value::Bool(_) | Value::Number(_) => Some(Key {
            name: key.span.text().to_owned(),
            span: key.span,
        }),
        _ => {
            problems.push(Diagnostic::error(BAD_KEY, "a key is missing").at(&key.span, ""));
            None
        }
    }
}

fn scalar(Scalar { text, style }: Scalar, span: &Span, problems: &mut Vec<Diagnostic>) -> Value {
    if style != Style::Plain {
        return Value::String(text);
    }
    match plain(&text) {
        Ok(Plain::Null) => Value::Null,
        Ok(Plain::Bool(value)) => Value::Bool(value),
        Ok(Plain::Integer(number)) => Value::Number(number),
        Ok(Plain::Float(value)) => {
            serde_json::Number::from_f64(value).map_or(Value::String(text), Value::Number)
        }
        Ok(Plain::Text) => Value::String(text),
        Err(remedy) => {
            problems.push(
                Diagnostic::error(
                    AMBIGUOUS,
                    format!("`{text}` means different things to different YAML readers"),
                )
                .at(span, "")
                .hint(remedy),
            );
            Value::String(text)
        }
    }
}
