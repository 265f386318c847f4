//! The part `expect:` of a check.

use super::{header_name, json_path};
use crate::diagnostic::Span;
use crate::verify::matcher::Matcher;
use crate::verify::pattern::Pattern;
use crate::verify::reader::Reader;
use crate::verify::spec::{Bound, Expect, Limit, Rule, Status};
use crate::yaml::{Node, Value};

/// `check` is where the check stands, for what has no place of its own.
pub(super) fn expect(reader: &mut Reader, node: Option<&Node>, check: &Span) -> Expect {
    const KEYS: [&str; 5] = ["status", "headers", "json", "body", "duration"];
    let mut expect = Expect {
        status: Status {
            span: node.map_or(check, |node| &node.span).clone(),
            codes: Vec::new(),
        },
        headers: Vec::new(),
        json: Vec::new(),
        body: Vec::new(),
        duration: Vec::new(),
    };
    let Some(node) = node else { return expect };
    if !reader.is_map(node, "`expect`", &KEYS) {
        return expect;
    }
    if let Some(status) = node.get("status") {
        expect.status = Status {
            span: status.span.clone(),
            codes: codes(reader, status),
        };
    }
    if let Some(headers) = node.get("headers") {
        for (key, value) in reader.entries(headers, "`headers`") {
            let name = header_name(reader, key);
            let rule = rule(reader, value);
            expect.headers.extend(name.zip(rule));
        }
    }
    if let Some(json) = node.get("json") {
        for (key, value) in reader.entries(json, "`json`") {
            let path = json_path(reader, &key.name, &key.span);
            let rule = rule(reader, value);
            expect.json.extend(path.zip(rule));
        }
    }
    if let Some(body) = node.get("body") {
        expect.body.extend(rule(reader, body));
    }
    if let Some(duration) = node.get("duration") {
        expect.duration = limits(reader, duration);
    }
    expect
}

fn codes(reader: &mut Reader, node: &Node) -> Vec<u16> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if items.is_empty() {
        reader.bad(&node.span, "`status` has no code in it");
    }
    let mut codes = Vec::new();
    for item in items {
        let code = match &item.value {
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        match code.and_then(|code| u16::try_from(code).ok()) {
            Some(code @ 100..=599) => codes.push(code),
            _ => {
                reader
                    .bad(&item.span, "a status is a number from 100 to 599")
                    .hints
                    .push("without `status`, any 2xx is right".into());
            }
        }
    }
    codes
}

fn rule(reader: &mut Reader, node: &Node) -> Option<Rule> {
    Some(Rule {
        span: node.span.clone(),
        matcher: matcher(reader, node)?,
    })
}

/// A map names matchers, anything else is the value itself.
fn matcher(reader: &mut Reader, node: &Node) -> Option<Matcher> {
    const KEYS: [&str; 7] = [
        "equals", "contains", "matches", "exists", "above", "below", "not",
    ];
    if !matches!(node.value, Value::Map(_)) {
        return Some(Matcher::Equals(reader.template(node)));
    }
    let before = reader.problems.len();
    reader.is_map(node, "a matcher", &KEYS);
    for problem in &mut reader.problems[before..] {
        let hint = "to compare with a map, write it under `equals`";
        problem.hints.push(hint.into());
    }
    let mut matchers = Vec::new();
    for (key, value) in node.entries() {
        matchers.extend(match key.name.as_str() {
            "equals" => Some(Matcher::Equals(reader.template(value))),
            "contains" => Some(Matcher::Contains(reader.template(value))),
            "matches" => pattern(reader, value).map(Matcher::Matches),
            "exists" => reader.bool(value, "`exists`").map(Matcher::Exists),
            "above" => Some(Matcher::Above(number(reader, value))),
            "below" => Some(Matcher::Below(number(reader, value))),
            "not" => matcher(reader, value).map(|inner| Matcher::Not(Box::new(inner))),
            _ => None,
        });
    }
    if node.entries().is_empty() {
        reader.bad(&node.span, "there is no matcher in it");
    }
    match matchers.len() {
        1 => matchers.pop(),
        _ => Some(Matcher::All(matchers)),
    }
}

fn pattern(reader: &mut Reader, node: &Node) -> Option<Pattern> {
    reader.string(node, "`matches`")?;
    match Pattern::new(reader.template(node)) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let reason = match error {
                regex::Error::Syntax(text) => text,
                other => other.to_string(),
            };
            // The last line names the mistake; the ones above draw the pattern once more.
            let line = reason.lines().last().unwrap_or_default();
            reader
                .bad(&node.span, "bad regular expression")
                .notes
                .push(line.trim_start_matches("error: ").to_owned());
            None
        }
    }
}

fn number(reader: &mut Reader, node: &Node) -> crate::verify::template::Template {
    match &node.value {
        Value::Number(_) => {}
        Value::String(text) if text.starts_with("{{") => {}
        _ => {
            reader.bad(&node.span, "this must be a number");
        }
    }
    reader.template(node)
}

fn limits(reader: &mut Reader, node: &Node) -> Vec<Limit> {
    reader.is_map(node, "`duration`", &["above", "below"]);
    let mut limits = Vec::new();
    for (key, value) in node.entries() {
        let bound = match key.name.as_str() {
            "above" => Bound::Above,
            "below" => Bound::Below,
            _ => continue,
        };
        let duration = reader.duration(value, "a limit");
        limits.extend(duration.map(|duration| Limit {
            span: value.span.clone(),
            bound,
            duration,
        }));
    }
    limits
}
