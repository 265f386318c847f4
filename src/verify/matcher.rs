//! What a value must be like; pure.

use serde_json::Value;

use super::pattern::Pattern;
use super::scope::Scope;
use super::template::{Template, Unfit};

/// A condition on a value that may be missing.
#[derive(Clone, Debug)]
pub(super) enum Matcher {
    Equals(Template),
    /// A part of a text, an item of a list, a key of a map.
    Contains(Template),
    Matches(Pattern),
    Exists(bool),
    Above(Template),
    Below(Template),
    Not(Box<Matcher>),
    /// All of them.
    All(Vec<Matcher>),
}

impl Matcher {
    /// Whether any of `candidates` (none: the value is missing) is right.
    pub(super) fn holds(&self, candidates: &[Value], scope: &Scope) -> Result<bool, Unfit> {
        let any = |test: &dyn Fn(&Value) -> bool| candidates.iter().any(test);
        Ok(match self {
            Self::Equals(expected) => {
                let expected = expected.expand(scope)?;
                any(&|value| equal(value, &expected))
            }
            Self::Contains(part) => {
                let part = part.expand(scope)?;
                any(&|value| contains(value, &part))
            }
            Self::Matches(pattern) => {
                let regex = pattern.regex(scope)?;
                any(&|value| match value {
                    Value::String(text) => regex.is_match(text),
                    Value::Number(_) | Value::Bool(_) => regex.is_match(&value.to_string()),
                    _ => false,
                })
            }
            Self::Exists(expected) => candidates.is_empty() != *expected,
            Self::Above(limit) => {
                let limit = number(&limit.expand(scope)?);
                any(&|value| number(value).zip(limit).is_some_and(|(a, b)| a > b))
            }
            Self::Below(limit) => {
                let limit = number(&limit.expand(scope)?);
                any(&|value| number(value).zip(limit).is_some_and(|(a, b)| a < b))
            }
            Self::Not(matcher) => !matcher.holds(candidates, scope)?,
            Self::All(matchers) => {
                for matcher in matchers {
                    if !matcher.holds(candidates, scope)? {
                        return Ok(false);
                    }
                }
                true
            }
        })
    }

    /// In words, with this run's values but no secret: `a text with "Hello"`.
    pub(super) fn describe(&self, scope: &Scope) -> String {
        scope.scrub(&self.told(&scope.shown()))
    }

    fn told(&self, scope: &Scope) -> String {
        let shown = |template: &Template| match template.expand(scope) {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        };
        match self {
            Self::Equals(expected) => shown(expected),
            Self::Contains(part) => format!("something that contains {}", shown(part)),
            Self::Matches(pattern) => match pattern.regex(scope) {
                Ok(regex) => format!("a match of /{regex}/"),
                Err(error) => error.to_string(),
            },
            Self::Exists(true) => "any value".into(),
            Self::Exists(false) => "no value".into(),
            Self::Above(limit) => format!("a number above {}", shown(limit)),
            Self::Below(limit) => format!("a number below {}", shown(limit)),
            Self::Not(matcher) => format!("not {}", matcher.told(scope)),
            Self::All(matchers) => {
                let all: Vec<String> = matchers.iter().map(|m| m.told(scope)).collect();
                all.join(" and ")
            }
        }
    }
}

/// As JSON has it, but `1` and `1.0` are one number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => a == b,
    }
}

fn contains(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::String(text), Value::String(part)) => text.contains(part),
        (Value::String(text), Value::Number(_) | Value::Bool(_)) => {
            text.contains(&part.to_string())
        }
        (Value::Array(items), part) => items.iter().any(|item| equal(item, part)),
        (Value::Object(map), Value::String(key)) => map.contains_key(key),
        _ => false,
    }
}

/// A number, also where a header or a body holds it as text.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(value: Value) -> Template {
        Template::Value(value)
    }

    #[track_caller]
    fn check(matcher: &Matcher, candidates: &[Value], expected: bool) {
        let scope = Scope::draw(Default::default());
        assert_eq!(
            matcher.holds(candidates, &scope).unwrap(),
            expected,
            "{} on {candidates:?}",
            matcher.describe(&scope)
        );
    }

    #[test]
    fn equality_is_that_of_json() {
        let one = Matcher::Equals(value(json!(1)));
        check(&one, &[json!(1)], true);
        check(&one, &[json!(1.0)], true);
        check(&one, &[json!("1")], false);
        check(&one, &[], false);
        check(&Matcher::Equals(value(json!(null))), &[json!(null)], true);
        check(&Matcher::Equals(value(json!(null))), &[], false);
        check(
            &Matcher::Equals(value(json!({"a": [1]}))),
            &[json!({"a": [1.0]})],
            true,
        );
        check(
            &Matcher::Equals(value(json!({"a": 1}))),
            &[json!({"a": 1, "b": 2})],
            false,
        );
    }

    #[test]
    fn one_of_several_headers_is_enough() {
        let no_store = Matcher::Contains(value(json!("no-store")));
        check(&no_store, &[json!("private"), json!("no-store")], true);
        check(&no_store, &[json!("private")], false);
        check(
            &Matcher::Not(Box::new(no_store)),
            &[json!("private"), json!("no-store")],
            false,
        );
    }

    #[test]
    fn contains_means_text_items_and_keys() {
        check(&Matcher::Contains(value(json!("b"))), &[json!("abc")], true);
        check(&Matcher::Contains(value(json!(2))), &[json!([1, 2])], true);
        check(
            &Matcher::Contains(value(json!(2))),
            &[json!([1, "2"])],
            false,
        );
        check(
            &Matcher::Contains(value(json!("k"))),
            &[json!({"k": 1})],
            true,
        );
        check(&Matcher::Contains(value(json!("k"))), &[json!(null)], false);
    }

    #[test]
    fn bounds_read_numbers_out_of_text() {
        let above = Matcher::Above(value(json!(10)));
        check(&above, &[json!(11)], true);
        check(&above, &[json!(10)], false);
        check(&above, &[json!("10.5")], true);
        check(&above, &[json!("many")], false);
        check(&Matcher::Below(value(json!("3"))), &[json!(2)], true);
    }

    #[test]
    fn missing_values_exist_not() {
        check(&Matcher::Exists(false), &[], true);
        check(&Matcher::Exists(true), &[json!(null)], true);
        let regex = Matcher::Matches(Pattern::new(value(json!("^a+$"))).unwrap());
        check(&regex, &[json!("aaa")], true);
        check(&regex, &[], false);
        let all = Matcher::All(vec![
            regex,
            Matcher::Not(Box::new(Matcher::Equals(value(json!("aa"))))),
        ]);
        check(&all, &[json!("aaa")], true);
        check(&all, &[json!("aa")], false);
    }

    #[test]
    fn matchers_describe_themselves() {
        let scope = Scope::draw(Default::default());
        let all = Matcher::All(vec![
            Matcher::Contains(value(json!("x"))),
            Matcher::Not(Box::new(Matcher::Below(value(json!(3))))),
        ]);
        assert_eq!(
            all.describe(&scope),
            "something that contains \"x\" and not a number below 3"
        );
    }
}
