//! Secrets by name: a manifest holds references, never values, until the moment it is sent.
//!
//! A reference is a token of private-use characters inside a string. Because no input may contain such
//! characters, every string with a token is known to be secret wherever it flows.

mod scrub;

use std::collections::BTreeMap;
use std::fmt;

pub use scrub::{SHORTEST, Scrubber};

use crate::name::SecretName;

/// First character of a token.
const OPEN: char = '\u{F0010}';
/// Between the name and the encodings.
const SEPARATOR: char = '\u{F0011}';
/// Last character of a token.
const CLOSE: char = '\u{F0012}';

/// Characters that tokens are made of; refused in everything a user writes.
pub const RESERVED: std::ops::RangeInclusive<char> = '\u{F0000}'..='\u{F00FF}';

/// How a secret's value is written where its token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// Percent-encoded for any part of a URL (RFC 3986, all but unreserved characters).
    Url,
    /// Base64 with padding (RFC 4648, section 4).
    Base64,
}

/// A reference to a secret, with the encodings its value goes through, first to last.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretRef {
    /// Which secret.
    pub name: SecretName,
    /// Applied in order.
    pub encodings: Vec<Encoding>,
}

impl SecretRef {
    /// The token that stands for this reference.
    #[must_use]
    pub fn token(&self) -> String {
        let mut token = format!("{OPEN}{}", self.name);
        for encoding in &self.encodings {
            token.push(SEPARATOR);
            token.push(match encoding {
                Encoding::Url => 'u',
                Encoding::Base64 => 'b',
            });
        }
        token.push(CLOSE);
        token
    }

    fn parse(inner: &str) -> Option<Self> {
        let mut parts = inner.split(SEPARATOR);
        let name = parts.next()?.parse().ok()?;
        let encodings = parts
            .map(|part| match part {
                "u" => Some(Encoding::Url),
                "b" => Some(Encoding::Base64),
                _ => None,
            })
            .collect::<Option<_>>()?;
        Some(Self { name, encodings })
    }
}

/// A text cut into what is public and what is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// As written.
    Text(&'a str),
    /// Stands for a secret.
    Secret(SecretRef),
}

/// Cuts a text at its tokens; a damaged token stays text.
#[must_use]
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        let inner = &rest[start + OPEN.len_utf8()..];
        let parsed = inner
            .find(CLOSE)
            .and_then(|end| Some((end, SecretRef::parse(&inner[..end])?)));
        let Some((end, reference)) = parsed else {
            break;
        };
        if start > 0 {
            found.push(Piece::Text(&rest[..start]));
        }
        found.push(Piece::Secret(reference));
        rest = &inner[end + CLOSE.len_utf8()..];
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest));
    }
    found
}

/// Whether a text refers to any secret.
#[must_use]
pub fn is_secret(text: &str) -> bool {
    text.contains(OPEN)
}

/// The names of the secrets that a text refers to.
pub fn names(text: &str) -> impl Iterator<Item = SecretName> + '_ {
    pieces(text).into_iter().filter_map(|piece| match piece {
        Piece::Text(_) => None,
        Piece::Secret(reference) => Some(reference.name),
    })
}

/// The text with `<secret NAME>` where a secret stands: what may be shown.
#[must_use]
pub fn redact(text: &str) -> String {
    pieces(text)
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Secret(reference) => format!("<secret {}>", reference.name),
        })
        .collect()
}

/// A secret's value; `Debug` does not show it and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl SecretValue {
    /// Takes a value in.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself: only for what is sent to the cluster, and for hashing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// The values of an environment's secrets.
pub type SecretValues = BTreeMap<SecretName, SecretValue>;

/// A text refers to a secret that has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secret `{0}` has no value")]
pub struct MissingSecret(pub SecretName);

/// The text with the values in place of the tokens.
pub fn reveal(text: &str, values: &SecretValues) -> Result<String, MissingSecret> {
    let mut revealed = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => revealed.push_str(text),
            Piece::Secret(SecretRef { name, encodings }) => {
                let value = values.get(&name).ok_or(MissingSecret(name))?;
                let encoded = encodings
                    .iter()
                    .fold(value.expose().to_owned(), |value, encoding| {
                        encode(&value, *encoding)
                    });
                revealed.push_str(&encoded);
            }
        }
    }
    Ok(revealed)
}

/// `text` written in an encoding.
#[must_use]
pub fn encode(text: &str, encoding: Encoding) -> String {
    match encoding {
        Encoding::Url => percent_encode(text),
        Encoding::Base64 => base64(text.as_bytes()),
    }
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn base64(bytes: &[u8]) -> String {
    serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec()))
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(encodings: &[Encoding]) -> SecretRef {
        SecretRef {
            name: "postgres-password".parse().unwrap(),
            encodings: encodings.to_vec(),
        }
    }

    #[test]
    fn a_token_is_hidden_until_it_is_revealed() {
        let text = format!("postgres://me:{}@db/x", password(&[Encoding::Url]).token());
        let values = SecretValues::from([(
            "postgres-password".parse().unwrap(),
            SecretValue::new("a/b@c"),
        )]);
        assert!(is_secret(&text));
        assert_eq!(
            redact(&text),
            "postgres://me:<secret postgres-password>@db/x"
        );
        assert_eq!(
            reveal(&text, &values).unwrap(),
            "postgres://me:a%2Fb%40c@db/x"
        );
        assert_eq!(
            reveal(&text, &SecretValues::new()).unwrap_err().to_string(),
            "secret `postgres-password` has no value"
        );
        assert_eq!(
            format!("{values:?}"),
            r#"{SecretName("postgres-password"): <secret>}"#
        );
    }

    #[test]
    fn encodings_are_applied_in_order() {
        let values = SecretValues::from([(
            "postgres-password".parse().unwrap(),
            SecretValue::new("a b"),
        )]);
        let token = password(&[Encoding::Url, Encoding::Base64]).token();
        assert_eq!(
            reveal(&token, &values).unwrap(),
            "YSUyMGI=",
            "base64 of a%20b"
        );
    }

    #[test]
    fn plain_and_damaged_texts_stay_as_they_are() {
        for text in ["", "no secret", "\u{F0010}never closed"] {
            assert_eq!(reveal(text, &SecretValues::new()).unwrap(), text);
        }
    }
}
