//! What the expressions of a smoke.yaml may refer to.

use serde_json::Value;

use super::template::{Piece, Random};
use crate::diagnostic::did_you_mean;
use crate::secret::{Encoding, SecretRef};
use crate::stack::SecretName;

/// What expressions may refer to where a file is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// `stack.values`, `env.values` and `values`, with the prefix they are referred to by.
    pub(super) values: Vec<(&'static str, Value)>,
    /// What earlier checks capture.
    pub(super) captures: Vec<String>,
    /// The secrets of the environment.
    pub(super) secrets: Vec<SecretName>,
    /// The file that declares them.
    pub(super) secrets_file: String,
}

/// An expression that means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadExpression {
    pub(super) message: String,
    pub(super) hints: Vec<String>,
}

/// What an expression turned out to be.
pub(super) enum Resolved {
    Piece(Piece),
    Value(Value),
}

impl Names {
    /// Reads what stands between `{{` and `}}`.
    pub(super) fn resolve(&self, name: &str) -> Result<Resolved, BadExpression> {
        let random = |random| Ok(Resolved::Piece(Piece::Random(random)));
        match name {
            "random.uuid" => return random(Random::Uuid),
            "random.letters" => return random(Random::Letters),
            "random.digits" => return random(Random::Digits),
            _ => {}
        }
        if let Some((function, argument)) = name.split_once(char::is_whitespace) {
            let argument = argument.trim();
            return match (encoding(function), argument.strip_prefix("secrets.")) {
                (Some(encoding), Some(secret)) => self.secret(secret, vec![encoding]),
                (Some(_), None) => Err(self.unknown(name, "it takes a secret")),
                (None, _) => Err(self.unknown(name, "there is no such function")),
            };
        }
        if let Some(secret) = name.strip_prefix("secrets.") {
            return self.secret(secret, Vec::new());
        }
        if let Some(capture) = name.strip_prefix("captures.") {
            return if self.captures.iter().any(|known| known == capture) {
                Ok(Resolved::Piece(Piece::Capture(capture.to_owned())))
            } else {
                Err(self.unknown(name, "no earlier check captures that"))
            };
        }
        self.value(name)
    }

    fn value(&self, name: &str) -> Result<Resolved, BadExpression> {
        let (path, is_optional) = optional(name);
        let of = |(prefix, values): &'_ (&'static str, Value)| {
            let path = path.strip_prefix(prefix)?.strip_prefix('.')?;
            let found = path
                .split('.')
                .try_fold(values, |value, key| value.get(key));
            Some(found.cloned())
        };
        match self.values.iter().find_map(of) {
            Some(Some(value)) => Ok(Resolved::Value(value)),
            Some(None) if is_optional => Ok(Resolved::Piece(Piece::Empty(Value::Null))),
            _ => Err(self.unknown(name, "there is no such value")),
        }
    }

    fn secret(&self, name: &str, encodings: Vec<Encoding>) -> Result<Resolved, BadExpression> {
        let (name, is_optional) = optional(name);
        let mut known = self.secrets.iter();
        if let Some(name) = known.find(|known| known.as_str() == name).cloned() {
            return Ok(Resolved::Piece(Piece::Secret(SecretRef {
                name,
                encodings,
            })));
        }
        if is_optional {
            return Ok(Resolved::Piece(Piece::Empty(Value::Null)));
        }
        // As templates have it.
        let known = self.secrets.iter().map(SecretName::as_str);
        let near = did_you_mean(name, known).map(|near| format!("did you mean `{near}`?"));
        let declare = format!("declare it under `secrets:` of {}", self.secrets_file);
        Err(BadExpression {
            message: format!("there is no secret `{name}`"),
            hints: near.into_iter().chain([declare]).collect(),
        })
    }

    fn unknown(&self, name: &str, why: &str) -> BadExpression {
        let all = self.all();
        let hint = did_you_mean(name, all.iter().map(String::as_str)).map_or_else(
            || format!("known here: {}", all.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        BadExpression {
            message: format!("`{{{{{name}}}}}`: {why}"),
            hints: vec![hint],
        }
    }

    /// Every expression that is right here.
    fn all(&self) -> Vec<String> {
        let mut all: Vec<String> = ["random.uuid", "random.letters", "random.digits"]
            .map(String::from)
            .into();
        all.extend(self.captures.iter().map(|name| format!("captures.{name}")));
        all.extend(self.secrets.iter().map(|name| format!("secrets.{name}")));
        for (prefix, values) in &self.values {
            let keys = values.as_object().into_iter().flatten();
            all.extend(keys.map(|(key, _)| format!("{prefix}.{key}")));
        }
        all
    }
}

/// What may be missing is written with a question mark: `values.x?`.
fn optional(name: &str) -> (&str, bool) {
    match name.strip_suffix('?') {
        Some(name) => (name, true),
        None => (name, false),
    }
}

/// By the names that templates have for them.
fn encoding(function: &str) -> Option<Encoding> {
    match function {
        "b64" => Some(Encoding::Base64),
        "urlencode" => Some(Encoding::Url),
        _ => None,
    }
}
