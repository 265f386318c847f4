//! What expressions stand for while a file runs, and what may be shown of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::spec::Suite;
use super::template::{Piece, Random};
use crate::diagnostic::Span;
use crate::secret::{self, Scrubber, SecretRef, SecretValues};
use crate::stack::SecretName;

/// The values of one run of a file.
#[derive(Clone)]
pub(super) struct Scope {
    uuid: String,
    letters: String,
    digits: String,
    pub(super) captures: BTreeMap<String, Value>,
    secrets: Arc<Secrets>,
    /// Whether references to secrets stand for their names instead of their values.
    is_shown: bool,
}

/// The secrets that checks use.
#[derive(Default)]
pub(super) struct Secrets {
    values: SecretValues,
    scrubber: Scrubber,
}

/// A secret that checks cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secret `{name}` {why}")]
pub struct UnusableSecret {
    /// Which.
    pub name: SecretName,
    /// What is wrong with it.
    pub why: &'static str,
    /// Where a check uses it.
    pub span: Span,
}

impl Secrets {
    /// `values` has those that `suites` use. One that is too short to be recognised in an answer is refused.
    pub(super) fn new(suites: &[Suite], values: &SecretValues) -> Result<Self, UnusableSecret> {
        for (name, span) in suites.iter().flat_map(|suite| &suite.secrets) {
            let why = match values.get(name) {
                None => "has no value",
                Some(value) if value.expose().len() < secret::SHORTEST => {
                    "is too short to be kept out of reports"
                }
                Some(_) => continue,
            };
            return Err(UnusableSecret {
                name: name.clone(),
                why,
                span: span.clone(),
            });
        }
        Ok(Self {
            values: values.clone(),
            scrubber: Scrubber::new(values),
        })
    }
}

impl Scope {
    /// Draws what is random.
    pub(super) fn draw(secrets: Arc<Secrets>) -> Self {
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
            secrets,
            is_shown: false,
        }
    }

    /// The same with `<secret NAME>` for what is secret: what is expanded in it may be shown.
    pub(super) fn shown(&self) -> Self {
        Self {
            is_shown: true,
            ..self.clone()
        }
    }

    pub(super) fn value(&self, piece: &Piece) -> Value {
        match piece {
            Piece::Text(text) => text.clone().into(),
            Piece::Empty(value) => value.clone(),
            // Reading the file made sure that an earlier check captures it.
            Piece::Capture(name) => self.captures.get(name).cloned().unwrap_or(Value::Null),
            Piece::Secret(reference) => self.secret(reference).into(),
            Piece::Random(Random::Uuid) => self.uuid.clone().into(),
            Piece::Random(Random::Letters) => self.letters.clone().into(),
            Piece::Random(Random::Digits) => self.digits.clone().into(),
        }
    }

    fn secret(&self, reference: &SecretRef) -> String {
        if self.is_shown {
            return secret::redact(&reference.token());
        }
        secret::reveal(&reference.token(), &self.secrets.values)
            .expect("`Secrets::new` found a value for each")
    }

    /// A text of the server's, or about it, as it may be shown.
    pub(super) fn scrub(&self, text: &str) -> String {
        self.secrets.scrubber.text(text)
    }

    /// A document of the server's as it may be shown.
    pub(super) fn scrub_json(&self, value: &Value) -> Value {
        self.secrets.scrubber.json(value)
    }
}
