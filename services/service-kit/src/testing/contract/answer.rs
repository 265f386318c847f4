//! Whether an answer is what the document promises.

use http::{HeaderMap, Method, header};
use serde_json::Value;

use super::document::{Document, Operation};
use crate::problem::CONTENT_TYPE;
use crate::testing::http::Answer;

type Judgement = Result<(), String>;

/// Says what is wrong with an answer.
pub(super) fn judge(
    document: &Document,
    method: &Method,
    path: &str,
    answer: &Answer,
) -> Judgement {
    let id = text(&answer.headers, "x-request-id");
    require(!id.is_empty(), "there is no x-request-id")?;
    require(answer.status != 500, "the service failed")?;
    let operations = document.at(path);
    let named = |name: &str| operations.iter().find(|operation| operation.method == name);
    let operation = named(method.as_str()).or_else(|| {
        let head = *method == Method::HEAD;
        head.then(|| named("GET")).flatten()
    });
    match operation {
        Some(operation) => of_operation(operation, method, answer),
        None if operations.is_empty() => of_kit(method, answer, 404, "not-found"),
        None => {
            of_kit(method, answer, 405, "method-not-allowed")?;
            allows(&operations, &answer.headers)
        }
    }
}

fn of_kit(method: &Method, answer: &Answer, status: u16, code: &str) -> Judgement {
    let expected = format!("expected {status} `{code}`");
    require(answer.status == status, &expected)?;
    if *method == Method::HEAD {
        return require(answer.body.is_empty(), "a body for HEAD");
    }
    require(problem(answer)?["code"] == code, &expected)
}

/// `Allow` has the documented methods, and `HEAD` where there is `GET`.
fn allows(operations: &[&Operation], headers: &HeaderMap) -> Judgement {
    let documented = operations.iter().map(|operation| operation.method.as_str());
    let mut documented: Vec<&str> = documented.collect();
    if documented.contains(&"GET") {
        documented.push("HEAD");
    }
    documented.sort_unstable();
    let allow = text(headers, "allow");
    let mut allowed: Vec<&str> = allow.split(',').map(str::trim).collect();
    allowed.sort_unstable();
    let differ = format!("allowed are {allowed:?} and documented {documented:?}");
    require(allowed == documented, &differ)
}

fn of_operation(operation: &Operation, method: &Method, answer: &Answer) -> Judgement {
    let (name, status) = (operation.name(), answer.status.as_u16());
    let undocumented = || format!("{name} does not document {status}");
    let answers = operation.answers(status).ok_or_else(undocumented)?;
    for header in &answers.headers {
        let missing = format!("{name} documents the header {header} of {status}");
        require(answer.headers.contains_key(header.as_str()), &missing)?;
    }
    let kind = text(&answer.headers, header::CONTENT_TYPE.as_str());
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if answers.content.is_empty() {
        return require(answer.body.is_empty(), "a body that is not documented");
    }
    let mut content = answers.content.iter();
    let Some((_, schema)) = content.find(|(documented, _)| is_a(kind, documented)) else {
        return Err(format!("{name} does not document `{kind}` for {status}"));
    };
    if *method == Method::HEAD {
        return require(answer.body.is_empty(), "a body for HEAD");
    }
    if kind == CONTENT_TYPE {
        problem(answer)?;
    }
    if !kind.ends_with("json") {
        return Ok(());
    }
    let faults: Vec<String> = schema
        .iter_errors(&json(answer)?)
        .map(|error| format!("{error} at `{}`", error.instance_path()))
        .collect();
    require(
        faults.is_empty(),
        &format!("{name}, {status}: {}", faults.join(", ")),
    )
}

/// The body of a problem, after a look at what all problems have.
fn problem(answer: &Answer) -> Result<Value, String> {
    let kind = text(&answer.headers, "content-type");
    require(
        kind == CONTENT_TYPE,
        "an error that is no application/problem+json",
    )?;
    let body = json(answer)?;
    for key in ["type", "title", "code", "detail"] {
        let there = body[key].as_str().is_some_and(|text| !text.is_empty());
        require(there, &format!("a problem without `{key}`"))?;
    }
    let same = body["status"] == answer.status.as_u16();
    require(same, "the problem has another status than the answer")?;
    Ok(body)
}

fn json(answer: &Answer) -> Result<Value, String> {
    serde_json::from_slice(&answer.body).map_err(|error| format!("no JSON: {error}"))
}

fn is_a(kind: &str, documented: &str) -> bool {
    match documented.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => kind == documented,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn require(holds: bool, fault: &str) -> Judgement {
    if holds { Ok(()) } else { Err(fault.to_owned()) }
}
