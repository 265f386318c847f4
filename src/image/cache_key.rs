//! Inputs of an image → the digest in its tag. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Raised when the same inputs give another image than before: a new layout, new labels, new flags.
const FORMAT: &str = "stackctl image inputs 3";

/// Everything an image is made from: what it is (`file src/main.rs`, `lock serde 1.0.2`) and its fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs(BTreeMap<String, String>);

impl Inputs {
    /// Adds an input; `kind` is one word.
    pub fn add(&mut self, kind: &str, name: &str, fingerprint: impl Into<String>) {
        self.0.insert(format!("{kind} {name}"), fingerprint.into());
    }

    /// The digest of all of them, whatever the order they came in.
    #[must_use]
    pub fn digest(&self) -> InputDigest {
        let mut hasher = blake3::Hasher::new();
        let mut field = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        field(FORMAT);
        for (name, fingerprint) in &self.0 {
            field(name);
            field(fingerprint);
        }
        let hex = hasher.finalize().to_hex();
        InputDigest(hex[..InputDigest::LENGTH].to_owned())
    }

    /// Names of the inputs that are not the same in `other`.
    #[must_use]
    pub fn changed<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let mut changed: Vec<&str> = self
            .0
            .iter()
            .filter(|&(name, fingerprint)| other.0.get(name) != Some(fingerprint))
            .chain(
                other
                    .0
                    .iter()
                    .filter(|(name, _)| !self.0.contains_key(*name)),
            )
            .map(|(name, _)| name.as_str())
            .collect();
        changed.sort_unstable();
        changed
    }

    /// Whether there is such an input.
    #[must_use]
    pub fn contains(&self, kind: &str, name: &str) -> bool {
        self.0.contains_key(&format!("{kind} {name}"))
    }

    /// The fingerprint of an input by its whole name, as [`changed`](Self::changed) names it.
    #[must_use]
    pub fn fingerprint(&self, input: &str) -> Option<&str> {
        self.0.get(input).map(String::as_str)
    }

    /// All inputs by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, fingerprint)| (name.as_str(), fingerprint.as_str()))
    }
}

/// The tag of an image: 20 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InputDigest(String);

impl InputDigest {
    /// 80 bits: no collision among the images of any stack, short enough to read aloud.
    const LENGTH: usize = 20;

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InputDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(entries: &[(&str, &str, &str)]) -> Inputs {
        let mut inputs = Inputs::default();
        for (kind, name, fingerprint) in entries {
            inputs.add(kind, name, *fingerprint);
        }
        inputs
    }

    #[test]
    fn the_digest_covers_names_and_fingerprints_but_not_the_order() {
        let one = inputs(&[("file", "a", "1"), ("lock", "b", "2")]);
        assert_eq!(
            one.digest(),
            inputs(&[("lock", "b", "2"), ("file", "a", "1")]).digest()
        );
        for other in [
            inputs(&[("file", "a", "1")]),
            inputs(&[("file", "a", "2"), ("lock", "b", "2")]),
            inputs(&[("file", "a", "1"), ("lock", "c", "2")]),
            inputs(&[("file", "a", "1l"), ("ock", "b", "2")]),
        ] {
            assert_ne!(one.digest(), other.digest(), "{other:?}");
        }
        assert_eq!(one.digest().as_str().len(), 20);
    }

    #[test]
    fn changes_are_named() {
        let before = inputs(&[("file", "a", "1"), ("file", "b", "1"), ("file", "c", "1")]);
        let after = inputs(&[("file", "a", "1"), ("file", "b", "2"), ("file", "d", "1")]);
        assert_eq!(before.changed(&after), ["file b", "file c", "file d"]);
        assert!(before.changed(&before).is_empty());
    }
}
