//! `{{…}}` in the strings of a smoke.yaml.
//!
//! Values of the stack are put in when the file is read; what is random, captured or secret when a check runs.
//! A string that is exactly one expression keeps the type of its value. Nothing is expanded twice.

use serde_json::Value;

use super::names::{BadExpression, Names, Resolved};
use super::scope::Scope;
use crate::secret::SecretRef;
use crate::stack::SecretName;
use crate::yaml::{Node, Value as Yaml};

/// A value with places for what is known only when a check runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Template {
    Value(Value),
    Text(Vec<Piece>),
    List(Vec<Template>),
    Map(Vec<(String, Template)>),
}

/// A part of a text: written, or an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    /// An expression that stands for nothing: null, or a text without a character.
    Empty(Value),
    Capture(String),
    Secret(SecretRef),
    Random(Random),
}

/// What is drawn once for a run of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Random {
    Uuid,
    Letters,
    Digits,
}

/// Why a template has no value in this run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// A value that cannot stand within a text.
    #[error("{kind} (`{expression}`) cannot stand within a text")]
    Text {
        expression: String,
        kind: &'static str,
    },
    /// A pattern is none with the values of this run.
    #[error("with this run's values it is no regular expression")]
    Pattern,
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
                    hints: vec![
                        "write {{captures.NAME}}, {{random.uuid}} or {{values.NAME}}".into(),
                    ],
                });
            };
            push_text(&mut pieces, before);
            let name = expression[..end].trim();
            rest = &expression[end + 2..];
            match names.resolve(name)? {
                Resolved::Piece(piece) => pieces.push(piece),
                Resolved::Value(value) if pieces.is_empty() && rest.is_empty() => {
                    return Ok(if is_nothing(&value) {
                        Self::Text(vec![Piece::Empty(value)])
                    } else {
                        Self::Value(value)
                    });
                }
                Resolved::Value(value) if value == "" => pieces.push(Piece::Empty(value)),
                Resolved::Value(value) => {
                    let text = as_text(&value, name).map_err(|error| BadExpression {
                        message: error.to_string(),
                        hints: vec![
                            "let the expression stand alone, or refer to a part of it".into(),
                        ],
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
    pub(super) fn expand(&self, scope: &Scope) -> Result<Value, Unfit> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::List(items) => items.iter().map(|item| item.expand(scope)).collect(),
            Self::Map(entries) => entries
                .iter()
                .map(|(key, item)| Ok((key.clone(), item.expand(scope)?)))
                .collect(),
            Self::Text(pieces) => match &pieces[..] {
                [piece] => Ok(scope.value(piece)),
                _ => Ok(Value::String(joined(pieces, scope)?)),
            },
        }
    }

    /// The value of this run as text.
    pub(super) fn expand_text(&self, scope: &Scope) -> Result<String, Unfit> {
        match self {
            Self::Text(pieces) => joined(pieces, scope),
            _ => as_text(&self.expand(scope)?, "…"),
        }
    }

    /// Whether one of its expressions stands for nothing in this run.
    pub(super) fn lacks_something(&self, scope: &Scope) -> bool {
        match self {
            Self::Text(pieces) => pieces
                .iter()
                .any(|piece| !matches!(piece, Piece::Text(_)) && is_nothing(&scope.value(piece))),
            _ => false,
        }
    }

    /// The secrets that it refers to.
    pub(super) fn secrets(&self) -> Vec<&SecretName> {
        match self {
            Self::Value(_) => Vec::new(),
            Self::Text(pieces) => pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Secret(reference) => Some(&reference.name),
                    _ => None,
                })
                .collect(),
            Self::List(items) => items.iter().flat_map(Self::secrets).collect(),
            Self::Map(entries) => entries
                .iter()
                .flat_map(|(_, item)| item.secrets())
                .collect(),
        }
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value == ""
}

fn joined(pieces: &[Piece], scope: &Scope) -> Result<String, Unfit> {
    let mut text = String::new();
    for piece in pieces {
        if !matches!(piece, Piece::Empty(_)) {
            text.push_str(&as_text(&scope.value(piece), &piece.expression())?);
        }
    }
    Ok(text)
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
            Self::Empty(_) => String::new(),
            Self::Secret(reference) => format!("secrets.{}", reference.name),
            Self::Capture(name) => format!("captures.{name}"),
            Self::Random(Random::Uuid) => "random.uuid".into(),
            Self::Random(Random::Letters) => "random.letters".into(),
            Self::Random(Random::Digits) => "random.digits".into(),
        }
    }
}

fn as_text(value: &Value, expression: &str) -> Result<String, Unfit> {
    let kind = match value {
        Value::String(text) => return Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => return Ok(value.to_string()),
        Value::Null => "null",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    };
    Err(Unfit::Text {
        expression: expression.to_owned(),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::Encoding;

    fn names() -> Names {
        Names {
            values: vec![
                ("stack.values", json!({ "log_level": "info" })),
                ("env.values", json!({ "domain": "example.com" })),
                (
                    "values",
                    json!({ "replicas": 3, "tags": ["a"], "tricky": "{{random.uuid}}", "deep": { "x": true }, "nothing": "" }),
                ),
            ],
            captures: vec!["id".into()],
            secrets: vec!["api-key".parse().unwrap()],
            secrets_file: "environments/local.yaml".into(),
        }
    }

    fn scope(id: Value) -> Scope {
        let mut scope = Scope::draw(Default::default());
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
    fn what_may_be_missing_stands_for_nothing() {
        expands("{{values.unknown?}}", json!(null));
        expands("{{ secrets.unknown? }}", json!(null));
        expands(
            "a{{env.values.domain?}}{{env.values.unknown?}}b",
            json!("aexample.comb"),
        );
        expands("a{{values.deep.y.z?}}", json!("a"));
        expands("{{values.nothing}}", json!(""));
        expands("a{{values.nothing}}", json!("a"));
    }

    #[test]
    fn secrets_are_referred_to_by_name() {
        let read = |text| Template::text(text, &names()).unwrap();
        let reference = |encodings| {
            let name = "api-key".parse().unwrap();
            Piece::Secret(SecretRef { name, encodings })
        };
        assert_eq!(
            read("{{secrets.api-key}}"),
            Template::Text(vec![reference(vec![])])
        );
        assert_eq!(
            read("Basic {{ b64  secrets.api-key? }}"),
            Template::Text(vec![
                Piece::Text("Basic ".into()),
                reference(vec![Encoding::Base64])
            ])
        );
    }

    #[test]
    fn values_are_not_expanded_again() {
        expands("{{values.tricky}}", json!("{{random.uuid}}"));
        expands("x {{values.tricky}}", json!("x {{random.uuid}}"));
    }

    #[test]
    fn what_is_random_stays_the_same_within_a_run() {
        let template = Template::text("{{random.letters}}/{{random.letters}}", &names()).unwrap();
        let scope = Scope::draw(Default::default());
        let text = template.expand_text(&scope).unwrap();
        let (first, second) = text.split_once('/').unwrap();
        assert_eq!(first, second);
        assert!(first.len() == 12 && first.chars().all(|c| c.is_ascii_lowercase()));
        assert_ne!(
            text,
            template
                .expand_text(&Scope::draw(Default::default()))
                .unwrap()
        );
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
        assert_eq!(problem.hints.join("; "), hint);
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
    fn unknown_secrets_are_refused_as_in_templates() {
        refused(
            "{{secrets.api-kye}}",
            "there is no secret `api-kye`",
            "did you mean `api-key`?; declare it under `secrets:` of environments/local.yaml",
        );
        refused(
            "{{b64 secrets.other}}",
            "there is no secret `other`",
            "declare it under `secrets:` of environments/local.yaml",
        );
        refused(
            "{{secret.api-key}}",
            "`{{secret.api-key}}`: there is no such value",
            "did you mean `secrets.api-key`?",
        );
        for (text, why) in [
            ("{{b64 values.replicas}}", "it takes a secret"),
            ("{{md5 secrets.api-key}}", "there is no such function"),
            ("{{valuse.x?}}", "there is no such value"),
            ("{{random.uuid?}}", "there is no such value"),
        ] {
            let problem = Template::text(text, &names()).unwrap_err();
            assert_eq!(problem.message, format!("`{text}`: {why}"));
        }
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
