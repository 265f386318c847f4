//! What an answer lacks; pure.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;

use super::scope::Scope;
use super::spec::{Bound, Capture, CaptureSource, Expect, Rule};
use crate::diagnostic::Span;

/// An answer; it has no `Debug`, since it may hold a secret that it was asked with.
#[derive(Clone)]
pub(super) struct Response {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    elapsed: Duration,
    json: Option<Value>,
}

/// An expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where the expectation is written.
    pub span: Span,
    /// What it is about: `status`, `header content-type`, `$.message`, `body`, `duration`, `request`.
    pub subject: String,
    /// What was expected, in words.
    pub expected: String,
    /// What came instead, shortened.
    pub actual: String,
}

impl Response {
    pub(super) fn new(status: u16, headers: HeaderMap, body: Bytes, elapsed: Duration) -> Self {
        Self {
            json: serde_json::from_slice(&body).ok(),
            status,
            headers,
            body,
            elapsed,
        }
    }

    /// From the first byte of the request to the last of the answer.
    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The body as it may be shown: without secrets, in one line, shortened.
    pub(super) fn excerpt(&self, scope: &Scope) -> String {
        if self.body.is_empty() {
            return "(empty)".into();
        }
        // A text of JSON has more than one spelling.
        if let Some(json) = &self.json {
            let shown = scope.scrub_json(json);
            if shown != *json {
                return shorten(&shown.to_string());
            }
        }
        match std::str::from_utf8(&self.body) {
            Ok(text) => shorten(scope.scrub(text).trim()),
            Err(_) => format!("({} bytes that are no text)", self.body.len()),
        }
    }

    fn header(&self, name: &HeaderName) -> Vec<Value> {
        self.headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into())
            .collect()
    }
}

/// Every expectation that `response` does not meet.
pub(super) fn failures(expect: &Expect, response: &Response, scope: &Scope) -> Vec<Failure> {
    let mut failures = Vec::new();
    failures.extend(status(expect, response));
    for (name, rule) in &expect.headers {
        let values = response.header(name);
        failures.extend(broken(rule, &format!("header {name}"), &values, scope));
    }
    for (path, rule) in &expect.json {
        let Some(document) = &response.json else {
            failures.push(Failure {
                span: rule.span.clone(),
                subject: path.to_string(),
                expected: rule.matcher.describe(scope),
                actual: format!("a body that is no JSON: {}", response.excerpt(scope)),
            });
            continue;
        };
        let values: Vec<Value> = path.find(document).into_iter().collect();
        failures.extend(broken(rule, &path.to_string(), &values, scope));
    }
    for rule in &expect.body {
        let text = String::from_utf8_lossy(&response.body).into_owned();
        failures.extend(broken(rule, "body", &[text.into()], scope));
    }
    failures.extend(duration(expect, response));
    failures
}

fn status(expect: &Expect, response: &Response) -> Option<Failure> {
    let codes = &expect.status.codes;
    let right = if codes.is_empty() {
        (200..300).contains(&response.status)
    } else {
        codes.contains(&response.status)
    };
    let expected = match &codes[..] {
        [] => "any 2xx".to_owned(),
        codes => {
            let codes: Vec<String> = codes.iter().map(u16::to_string).collect();
            codes.join(" or ")
        }
    };
    (!right).then(|| Failure {
        span: expect.status.span.clone(),
        subject: "status".into(),
        expected,
        actual: response.status.to_string(),
    })
}

fn duration(expect: &Expect, response: &Response) -> Vec<Failure> {
    let wrong = expect.duration.iter().filter(|limit| match limit.bound {
        Bound::Above => response.elapsed <= limit.duration,
        Bound::Below => response.elapsed >= limit.duration,
    });
    wrong
        .map(|limit| {
            let side = match limit.bound {
                Bound::Above => "above",
                Bound::Below => "below",
            };
            Failure {
                span: limit.span.clone(),
                subject: "duration".into(),
                expected: format!("{side} {:?}", limit.duration),
                actual: format!("{} ms", response.elapsed.as_millis()),
            }
        })
        .collect()
}

fn broken(rule: &Rule, subject: &str, values: &[Value], scope: &Scope) -> Option<Failure> {
    let shown = |value: &Value| shorten(&scope.scrub(&scope.scrub_json(value).to_string()));
    let actual = match rule.matcher.holds(values, scope) {
        Ok(true) => return None,
        Ok(false) => match values {
            [] => "nothing".into(),
            [one] => shown(one),
            many => shown(&Value::from(many)),
        },
        Err(error) => error.to_string(),
    };
    Some(Failure {
        span: rule.span.clone(),
        subject: subject.to_owned(),
        expected: rule.matcher.describe(scope),
        actual,
    })
}

/// What `captures` take out of an answer that met all expectations.
pub(super) fn capture<'c>(
    captures: impl IntoIterator<Item = (&'c String, &'c Capture)>,
    response: &Response,
    scope: &Scope,
) -> Result<Vec<(String, Value)>, Vec<Failure>> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for (name, Capture { span, source }) in captures {
        let (subject, value) = match source {
            CaptureSource::Json(path) => (
                path.to_string(),
                response.json.as_ref().and_then(|json| path.find(json)),
            ),
            CaptureSource::Header(header) => (
                format!("header {header}"),
                response.header(header).into_iter().next(),
            ),
        };
        match value {
            Some(value) => found.push((name.clone(), value)),
            None => failures.push(Failure {
                span: span.clone(),
                subject,
                expected: format!("a value to capture as `{name}`"),
                actual: format!("nothing; the body is {}", response.excerpt(scope)),
            }),
        }
    }
    if failures.is_empty() {
        Ok(found)
    } else {
        Err(failures)
    }
}

/// At most 200 characters in one line.
fn shorten(text: &str) -> String {
    const LIMIT: usize = 200;
    let mut line: String = text
        .chars()
        .take(LIMIT)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let left = text.chars().count().saturating_sub(LIMIT);
    if left > 0 {
        line.push_str(&format!("… ({left} more characters)"));
    }
    line
}
