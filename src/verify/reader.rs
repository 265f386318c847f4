//! Reads YAML nodes into values and collects every problem on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::names::Names;
use super::template::Template;
use crate::diagnostic::{Code, Diagnostic, Span, did_you_mean};
use crate::stack::SecretName;
use crate::yaml::{Node, Value};

/// A key that a smoke.yaml does not have.
const UNKNOWN_KEY: Code = Code::new("S0901");
/// A value of another type.
const WRONG_TYPE: Code = Code::new("S0902");
/// A value that is not possible, or one that is missing.
const BAD_VALUE: Code = Code::new("S0903");
/// `{{…}}` that means nothing.
const BAD_EXPRESSION: Code = Code::new("S0904");

/// What was found wrong so far, and what expressions may refer to.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Diagnostic>,
    pub(super) names: Names,
    /// The secrets that were referred to, each with the first place.
    pub(super) secrets: BTreeMap<SecretName, Span>,
}

impl Reader {
    /// The problem "this is not possible".
    pub(super) fn bad(&mut self, span: &Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Diagnostic::error(BAD_VALUE, message).at(span, ""))
    }

    fn push(&mut self, problem: Diagnostic) -> &mut Diagnostic {
        self.problems.push(problem);
        self.problems.last_mut().expect("one was just pushed")
    }

    fn wrong_type(&mut self, node: &Node, what: &str, expected: &str) {
        let message = format!("{what} must be {expected}");
        let found = format!("this is {}", node.type_name());
        self.push(Diagnostic::error(WRONG_TYPE, message).at(&node.span, found));
    }

    /// Makes sure that `node` is a map without keys other than `known`.
    pub(super) fn is_map(&mut self, node: &Node, what: &str, known: &[&str]) -> bool {
        if !matches!(node.value, Value::Map(_)) {
            self.wrong_type(node, what, "a map");
            return false;
        }
        for (key, _) in node.entries() {
            if known.contains(&key.name.as_str()) {
                continue;
            }
            let hint = did_you_mean(&key.name, known.iter().copied()).map_or_else(
                || format!("known keys: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("unknown key `{}` in {what}", key.name);
            self.push(
                Diagnostic::error(UNKNOWN_KEY, message)
                    .at(&key.span, "")
                    .hint(hint),
            );
        }
        true
    }

    /// The pairs of a map with free keys.
    pub(super) fn entries<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
    ) -> &'n [(crate::yaml::Key, Node)] {
        if !matches!(node.value, Value::Map(_)) {
            self.wrong_type(node, what, "a map");
        }
        node.entries()
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            _ => {
                self.wrong_type(node, what, "a list");
                &[]
            }
        }
    }

    pub(super) fn string<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::String(text) => Some(text),
            _ => {
                self.wrong_type(node, what, "a string");
                None
            }
        }
    }

    pub(super) fn bool(&mut self, node: &Node, what: &str) -> Option<bool> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.wrong_type(node, what, "true or false");
                None
            }
        }
    }

    /// Such as `500ms`, `30s`, `5m`.
    pub(super) fn duration(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let parsed = match &node.value {
            Value::String(text) => duration(text),
            _ => None,
        };
        if parsed.is_none() {
            self.bad(
                &node.span,
                format!("{what} must be a duration such as `500ms`, `30s` or `5m`"),
            );
        }
        parsed
    }

    /// A value whose strings may hold expressions.
    pub(super) fn template(&mut self, node: &Node) -> Template {
        let mut problems = Vec::new();
        let template = Template::read(node, &self.names, &mut problems);
        for (node, problem) in problems {
            let diagnostic = Diagnostic::error(BAD_EXPRESSION, problem.message).at(&node.span, "");
            self.push(diagnostic).hints.extend(problem.hints);
        }
        for name in template.secrets() {
            let first = self.secrets.entry(name.clone());
            first.or_insert_with(|| node.span.clone());
        }
        template
    }

    /// A template of a text: strings, numbers and booleans.
    pub(super) fn text(&mut self, node: &Node, what: &str) -> Template {
        match node.value {
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.wrong_type(node, what, "a string");
                Template::Value(serde_json::Value::Null)
            }
            _ => {
                let template = self.template(node);
                if let Template::Value(serde_json::Value::Array(_) | serde_json::Value::Object(_)) =
                    template
                {
                    self.bad(&node.span, format!("{what} must be a text, this is more"));
                }
                template
            }
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return None,
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(milliseconds)
        .filter(|&milliseconds| milliseconds > 0)
        .map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::duration;
    use std::time::Duration;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        for bad in [
            "30",
            "s",
            "1.5s",
            "0s",
            "-1s",
            "1 s",
            "1d",
            "99999999999999999999s",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
