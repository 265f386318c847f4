//! From [`Node`]s to the tool's own types, collecting every problem on the way.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use crate::diagnostic::{Code, Diagnostic, Span, did_you_mean};

use super::node::{Key, Node, Value};

/// A key that the format does not have.
const UNKNOWN_KEY: Code = Code::new("S0110");
/// A value of another type than the format wants.
const WRONG_TYPE: Code = Code::new("S0111");
/// A key that must be there.
const MISSING_KEY: Code = Code::new("S0112");
/// A value of the right type that is still wrong.
const BAD_VALUE: Code = Code::new("S0113");

/// Reads nodes; what is wrong is noted and read as absent, so that one run finds everything.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What was found so far.
    pub problems: Vec<Diagnostic>,
}

impl Decoder {
    /// Notes a problem.
    pub fn report(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    /// Checks that `node` is a map of known keys; false where it is no map at all.
    pub fn keys(&mut self, node: &Node, known: &[&str]) -> bool {
        if !matches!(node.value, Value::Map(_)) {
            self.wrong_type(node, "a map");
            return false;
        }
        for (key, _) in node.entries() {
            if !known.contains(&key.name.as_str()) {
                self.unknown_key(key, known);
            }
        }
        true
    }

    /// Notes a key that is not among the known ones.
    pub fn unknown_key(&mut self, key: &Key, known: &[&str]) {
        let problem =
            Diagnostic::error(UNKNOWN_KEY, format!("unknown key `{}`", key.name)).at(&key.span, "");
        self.report(match did_you_mean(&key.name, known.iter().copied()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint(format!("known here: {}", known.join(", "))),
        });
    }

    /// Notes a value of the wrong type.
    pub fn wrong_type(&mut self, node: &Node, expected: &str) {
        let message = format!("expected {expected}, found {}", node.type_name());
        self.report(Diagnostic::error(WRONG_TYPE, message).at(&node.span, ""));
    }

    /// Notes a wrong value of the right type.
    pub fn bad_value(&mut self, span: &Span, message: impl Into<String>) {
        self.report(Diagnostic::error(BAD_VALUE, message).at(span, ""));
    }

    /// The value of a key; null counts as absent.
    pub fn optional<'a>(&self, node: &'a Node, key: &str) -> Option<&'a Node> {
        node.get(key).filter(|value| value.value != Value::Null)
    }

    /// The value of a key that must be there.
    pub fn required<'a>(&mut self, node: &'a Node, key: &str) -> Option<&'a Node> {
        let found = self.optional(node, key);
        if found.is_none() {
            let start = node.span.range().start;
            let place = Span::new(node.span.file(), start..start);
            self.report(
                Diagnostic::error(MISSING_KEY, format!("the key `{key}` is missing"))
                    .at(&place, "in this map"),
            );
        }
        found
    }

    /// A string.
    pub fn string(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.wrong_type(node, "a string");
                None
            }
        }
    }

    /// Any scalar but null, as the text that was written.
    pub fn scalar_text(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(node.span.text().to_owned()),
            _ => {
                self.wrong_type(node, "a string");
                None
            }
        }
    }

    /// A string that is not empty.
    pub fn text(&mut self, node: &Node) -> Option<String> {
        let text = self.string(node)?;
        if text.trim().is_empty() {
            self.bad_value(&node.span, "this must not be empty");
            return None;
        }
        Some(text)
    }

    /// A string with a syntax of its own.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, node: &Node) -> Option<T> {
        let text = self.string(node)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.bad_value(&node.span, error.to_string());
                None
            }
        }
    }

    /// True or false.
    pub fn boolean(&mut self, node: &Node) -> Option<bool> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.wrong_type(node, "true or false");
                None
            }
        }
    }

    /// An integer within a range.
    pub fn integer(&mut self, node: &Node, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        match &node.value {
            Value::Number(number) if !number.is_f64() => {
                let value = number.as_u64().filter(|value| range.contains(value));
                if value.is_none() {
                    self.bad_value(
                        &node.span,
                        format!(
                            "{number} is not between {} and {}",
                            range.start(),
                            range.end()
                        ),
                    );
                }
                value
            }
            _ => {
                self.wrong_type(node, "an integer");
                None
            }
        }
    }

    /// A port number.
    pub fn port(&mut self, node: &Node) -> Option<u16> {
        self.integer(node, 1..=65535)
            .and_then(|port| u16::try_from(port).ok())
    }

    /// A duration such as `500ms`, `30s`, `2m`, `1h`.
    pub fn duration(&mut self, node: &Node) -> Option<Duration> {
        let text = self.scalar_text(node)?;
        let parsed = parse_duration(&text);
        if parsed.is_none() {
            let problem = Diagnostic::error(BAD_VALUE, format!("`{text}` is no duration"));
            self.report(
                problem
                    .at(&node.span, "")
                    .hint("write a number and a unit: 500ms, 30s, 2m, 1h"),
            );
        }
        parsed
    }

    /// Every item of a list.
    pub fn list<T>(
        &mut self,
        node: &Node,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Vec<T> {
        match &node.value {
            Value::List(items) => items.iter().filter_map(|item| read(self, item)).collect(),
            _ => {
                self.wrong_type(node, "a list");
                Vec::new()
            }
        }
    }

    /// Every pair of a map whose keys are names; pairs with a null value are left out.
    pub fn map<K, T>(
        &mut self,
        node: &Node,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> BTreeMap<K, T>
    where
        K: FromStr<Err: Display> + Ord,
    {
        if !matches!(node.value, Value::Map(_)) {
            self.wrong_type(node, "a map");
        }
        let mut entries = BTreeMap::new();
        for (key, value) in node
            .entries()
            .iter()
            .filter(|(_, value)| value.value != Value::Null)
        {
            match key.name.parse::<K>() {
                Err(error) => self.bad_value(&key.span, error.to_string()),
                Ok(name) => {
                    if let Some(value) = read(self, value) {
                        entries.insert(name, value);
                    }
                }
            }
        }
        entries
    }
}

/// `500ms`, `30s`, `2m`, `1h`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let count: u64 = text[..digits].parse().ok()?;
    let milliseconds = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    count.checked_mul(milliseconds).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, expected) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("30s", Some(Duration::from_secs(30))),
            ("2m", Some(Duration::from_mins(2))),
            ("1h", Some(Duration::from_hours(1))),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }
}
