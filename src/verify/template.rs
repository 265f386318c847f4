//! `{{…}}` in the strings of a smoke.yaml.
//!
//! Values of the stack are put in when the file is read; what is random or captured when a check runs.
//! A string that is exactly one expression keeps the type of its value. Nothing is expanded twice.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::diagnostic::did_you_mean;
use crate::yaml::{Node, Value as Yaml};

/// A value with places for what is known only when a check runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Template {
    Value(Value),
    Text(Vec<Piece>),
    List(Vec<Template>),
    Map(Vec<(String, Template)>),
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Capture(String),
    Random(Random),
}

/// What is drawn once for a run of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Random {
    Uuid,
    Letters,
    Digits,
}

/// What expressions may refer to where a file is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// `stack.values`, `env.values` and `values`, with the prefix they are referred to by.
    pub(super) values: Vec<(&'static str, Value)>,
    /// What earlier checks capture.
    pub(super) captures: Vec<String>,
}

/// What expressions stand for while a file runs.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    uuid: String,
    letters: String,
    digits: String,
    pub(super) captures: BTreeMap<String, Value>,
}

/// An expression that means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadExpression {
    pub(super) message: String,
    pub(super) hint: String,
}

/// A value that cannot stand within a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (`{expression}`) cannot stand within a text")]
pub(super) struct NoText {
    expression: String,
    kind: &'static str,
}

impl Template {
    /// Reads all strings of a value; problems come with the node they are in.
    pub(super) fn read<'n>(
        node: &'n Node,
        names: &Names,
        problems: &mut Vec<(&'n Node, BadExpression)>,
    ) -> Self {
        match &node.value {
            Yaml::String(text) => Self::text(text, names).unwrap_or_else(|problem| {
                problems.push((node, problem));
                Self::Value(Value::Null)
            }),
            Yaml::List(items) => Self::List(
                items
                    .iter()
                    .map(|item| Self::read(item, names, problems))
                    .collect(),
            ),
            Yaml::Map(entries) => Self::Map(
                entries
                    .iter()
                    .map(|(key, item)| (key.name.clone(), Self::read(item, names, problems)))
                    .collect(),
            ),
            Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) => Self::Value(node.to_json()),
        }
    }

    /// Reads one string.
    pub(super) fn text(text: &str, names: &Names) -> Result<Self, BadExpression> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let (before, expression) = (&rest[..start], &rest[start + 2..]);
            let Some(end) = expression.find("}}") else {
                return Err(BadExpression {
                    message: "`{{` without `}}`".into(),
                    hint: "write {{captures.NAME}}, {{random.uuid}} or {{values.NAME}}".into(),
                });
            };
            push_text(&mut pieces, before);
            let name = expression[..end].trim();
            rest = &expression[end + 2..];
            match names.resolve(name)? {
                Resolved::Piece(piece) => pieces.push(piece),
                Resolved::Value(value) if pieces.is_empty() && rest.is_empty() => {
                    return Ok(Self::Value(value));
                }
                Resolved::Value(value) => {
                    let text = as_text(&value, name).map_err(|error| BadExpression {
                        message: error.to_string(),
                        hint: "let the expression stand alone, or refer to a part of it".into(),
                    })?;
                    push_text(&mut pieces, &text);
                }
            }
        }
        push_text(&mut pieces, rest);
        Ok(match &mut pieces[..] {
            [] => Self::Value(Value::String(String::new())),
            [Piece::Text(text)] => Self::Value(Value::String(std::mem::take(text))),
            _ => Self::Text(pieces),
        })
    }

    /// The value of this run.
    pub(super) fn expand(&self, scope: &Scope) -> Result<Value, NoText> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::List(items) => items.iter().map(|item| item.expand(scope)).collect(),
            Self::Map(entries) => entries
                .iter()
                .map(|(key, item)| Ok((key.clone(), item.expand(scope)?)))
                .collect(),
            Self::Text(pieces) => match &pieces[..] {
                [piece] => Ok(scope.value(piece)),
                _ => {
                    let mut text = String::new();
                    for piece in pieces {
                        text.push_str(&as_text(&scope.value(piece), &piece.expression())?);
                    }
                    Ok(Value::String(text))
                }
            },
        }
    }

    /// The value of this run as text.
    pub(super) fn expand_text(&self, scope: &Scope) -> Result<String, NoText> {
        as_text(&self.expand(scope)?, "…")
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if text.is_empty() {
        return;
    }
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

impl Piece {
    fn expression(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Capture(name) => format!("captures.{name}"),
            Self::Random(Random::Uuid) => "random.uuid".into(),
            Self::Random(Random::Letters) => "random.letters".into(),
            Self::Random(Random::Digits) => "random.digits".into(),
        }
    }
}

fn as_text(value: &Value, expression: &str) -> Result<String, NoText> {
    let kind = match value {
        Value::String(text) => return Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => return Ok(value.to_string()),
        Value::Null => "null",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    };
    Err(NoText {
        expression: expression.to_owned(),
        kind,
    })
}

enum Resolved {
    Piece(Piece),
    Value(Value),
}

impl Names {
    fn resolve(&self, name: &str) -> Result<Resolved, BadExpression> {
        let random = |random| Ok(Resolved::Piece(Piece::Random(random)));
        match name {
            "random.uuid" => return random(Random::Uuid),
            "random.letters" => return random(Random::Letters),
            "random.digits" => return random(Random::Digits),
            _ => {}
        }
        if let Some(capture) = name.strip_prefix("captures.") {
            return if self.captures.iter().any(|known| known == capture) {
                Ok(Resolved::Piece(Piece::Capture(capture.to_owned())))
            } else {
                Err(self.unknown(name, "no earlier check captures that"))
            };
        }
        self.values
            .iter()
            .find_map(|(prefix, values)| {
                let path = name.strip_prefix(prefix)?.strip_prefix('.')?;
                path.split('.')
                    .try_fold(values, |value, key| value.get(key))
            })
            .map(|value| Resolved::Value(value.clone()))
            .ok_or_else(|| self.unknown(name, "there is no such value"))
    }

    fn unknown(&self, name: &str, why: &str) -> BadExpression {
        let all = self.all();
        let hint = did_you_mean(name, all.iter().map(String::as_str)).map_or_else(
            || format!("known here: {}", all.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        BadExpression {
            message: format!("`{{{{{name}}}}}`: {why}"),
            hint,
        }
    }

    /// Every expression that is right here.
    fn all(&self) -> Vec<String> {
        let mut all: Vec<String> = ["random.uuid", "random.letters", "random.digits"]
            .map(String::from)
            .into();
        all.extend(self.captures.iter().map(|name| format!("captures.{name}")));
        for (prefix, values) in &self.values {
            let keys = values.as_object().into_iter().flatten();
            all.extend(keys.map(|(key, _)| format!("{prefix}.{key}")));
        }
        all
    }
}

impl Scope {
    /// Draws what is random.
    pub(super) fn draw() -> Self {
        let characters = |alphabet: &[u8], count: usize| -> String {
            uuid::Uuid::new_v4()
                .as_bytes()
                .iter()
                // These two bytes hold the version and the variant.
                .enumerate()
                .filter(|(index, _)| !matches!(index, 6 | 8))
                .take(count)
                .map(|(_, byte)| char::from(alphabet[usize::from(*byte) % alphabet.len()]))
                .collect()
        };
        Self {
            uuid: uuid::Uuid::new_v4().to_string(),
            letters: characters(b"abcdefghijklmnopqrstuvwxyz", 12),
            digits: characters(b"0123456789", 9),
            captures: BTreeMap::new(),
        }
    }

    fn value(&self, piece: &Piece) -> Value {
        match piece {
            Piece::Text(text) => text.clone().into(),
            // Reading the file made sure that an earlier check captures it.
            Piece::Capture(name) => self.captures.get(name).cloned().unwrap_or(Value::Null),
            Piece::Random(Random::Uuid) => self.uuid.clone().into(),
            Piece::Random(Random::Letters) => self.letters.clone().into(),
            Piece::Random(Random::Digits) => self.digits.clone().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> Names {
        Names {
            values: vec![
                ("stack.values", json!({ "log_level": "info" })),
                ("env.values", json!({ "domain": "example.com" })),
                (
                    "values",
                    json!({ "replicas": 3, "tags": ["a"], "tricky": "{{random.uuid}}", "deep": { "x": true } }),
                ),
            ],
            captures: vec!["id".into()],
        }
    }

    fn scope(id: Value) -> Scope {
        let mut scope = Scope::draw();
        scope.captures.insert("id".into(), id);
        scope
    }

    #[track_caller]
    fn expands(text: &str, expected: Value) {
        let template = Template::text(text, &names()).unwrap();
        assert_eq!(
            template.expand(&scope(json!(7))).unwrap(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn an_expression_alone_keeps_its_type() {
        expands("{{values.replicas}}", json!(3));
        expands("{{ values.deep.x }}", json!(true));
        expands("{{values.tags}}", json!(["a"]));
        expands("{{captures.id}}", json!(7));
    }

    #[test]
    fn in_a_text_everything_becomes_text() {
        expands(
            "https://{{env.values.domain}}/{{captures.id}}",
            json!("https://example.com/7"),
        );
        expands(
            "{{values.replicas}}{{stack.values.log_level}}",
            json!("3info"),
        );
        expands("plain", json!("plain"));
        expands("", json!(""));
    }

    #[test]
    fn values_are_not_expanded_again() {
        expands("{{values.tricky}}", json!("{{random.uuid}}"));
        expands("x {{values.tricky}}", json!("x {{random.uuid}}"));
    }

    #[test]
    fn what_is_random_stays_the_same_within_a_run() {
        let template = Template::text("{{random.letters}}/{{random.letters}}", &names()).unwrap();
        let scope = Scope::draw();
        let text = template.expand_text(&scope).unwrap();
        let (first, second) = text.split_once('/').unwrap();
        assert_eq!(first, second);
        assert!(first.len() == 12 && first.chars().all(|c| c.is_ascii_lowercase()));
        assert_ne!(text, template.expand_text(&Scope::draw()).unwrap());
        let digits = Template::text("{{random.digits}}", &names()).unwrap();
        assert!(
            digits
                .expand_text(&scope)
                .unwrap()
                .chars()
                .all(|c| c.is_ascii_digit())
        );
    }

    #[track_caller]
    fn refused(text: &str, message: &str, hint: &str) {
        let problem = Template::text(text, &names()).unwrap_err();
        assert_eq!(problem.message, message);
        assert_eq!(problem.hint, hint);
    }

    #[test]
    fn unknown_expressions_are_refused() {
        refused(
            "{{values.replcas}}",
            "`{{values.replcas}}`: there is no such value",
            "did you mean `values.replicas`?",
        );
        refused(
            "{{captures.ib}}",
            "`{{captures.ib}}`: no earlier check captures that",
            "did you mean `captures.id`?",
        );
        refused(
            "{{values.replicas",
            "`{{` without `}}`",
            "write {{captures.NAME}}, {{random.uuid}} or {{values.NAME}}",
        );
        refused(
            "x{{values.tags}}",
            "a list (`values.tags`) cannot stand within a text",
            "let the expression stand alone, or refer to a part of it",
        );
    }

    #[test]
    fn a_captured_list_cannot_stand_within_a_text() {
        let template = Template::text("/jobs/{{captures.id}}", &names()).unwrap();
        assert_eq!(
            template.expand(&scope(json!([1]))).unwrap_err().to_string(),
            "a list (`captures.id`) cannot stand within a text"
        );
    }
}
