//! Regular expressions with `{{…}}` in them: what an expression stands for is matched letter by letter.

use regex::Regex;
use serde_json::Value;

use super::scope::Scope;
use super::template::{Piece, Template, Unfit};

/// A regular expression whose expressions are filled in when a check runs.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Piece>);

impl Pattern {
    /// Checks that it is a regular expression where its expressions stand for a letter.
    pub(super) fn new(template: Template) -> Result<Self, regex::Error> {
        let pieces = match template {
            Template::Text(pieces) => pieces,
            Template::Value(Value::String(text)) => vec![Piece::Text(text)],
            Template::Value(other) => vec![Piece::Text(regex::escape(&other.to_string()))],
            Template::List(_) | Template::Map(_) => Vec::new(),
        };
        let written = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Empty(_) | Piece::Capture(_) | Piece::Secret(_) | Piece::Random(_) => "x",
        });
        Regex::new(&written.collect::<String>())?;
        Ok(Self(pieces))
    }

    /// The regular expression of this run.
    pub(super) fn regex(&self, scope: &Scope) -> Result<Regex, Unfit> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(part) => text.push_str(part),
                other => {
                    let value = Template::Text(vec![other.clone()]).expand_text(scope)?;
                    text.push_str(&regex::escape(&value));
                }
            }
        }
        // An answer may hold what is no end of a range, or nothing to repeat.
        Regex::new(&text).map_err(|_| Unfit::Pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::names::Names;

    fn pattern(text: &str, captures: &[&str]) -> Result<Pattern, regex::Error> {
        let names = Names {
            captures: captures.iter().map(ToString::to_string).collect(),
            ..Names::default()
        };
        Pattern::new(Template::text(text, &names).unwrap())
    }

    #[test]
    fn values_are_matched_letter_by_letter() {
        let mut scope = Scope::draw(Default::default());
        scope
            .captures
            .insert("name".into(), Value::String("a.b(".into()));
        let regex = pattern("^Hello, {{captures.name}}! [0-9]+$", &["name"])
            .unwrap()
            .regex(&scope)
            .unwrap();
        assert!(regex.is_match("Hello, a.b(! 12"));
        assert!(!regex.is_match("Hello, aXb(! 12"));
    }

    #[test]
    fn an_answer_cannot_make_a_pattern_panic() {
        let mut scope = Scope::draw(Default::default());
        for (text, captured) in [("{{captures.name}}+$", ""), ("[b-{{captures.name}}]", "a")] {
            scope.captures.insert("name".into(), captured.into());
            let pattern = pattern(text, &["name"]).unwrap();
            assert_eq!(pattern.regex(&scope).unwrap_err(), Unfit::Pattern, "{text}");
        }
    }

    #[test]
    fn mistakes_are_found_without_a_run() {
        assert!(pattern("{{random.letters}}(", &[]).is_err());
        assert!(pattern("[0-9]{2}", &[]).is_ok());
    }
}
