//! Checks that use secrets, against a server that tells everybody what it was sent.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::{Json, Router};
use serde_json::json;

use super::super::fixture::read;
use super::super::request::prepare;
use super::super::{BaseUrl, SmokeFailed, github, json as json_report, junit};
use super::tests::serve;
use super::*;
use crate::event::Recorder;
use crate::secret::SecretValue;

/// With what URLs, JSON and HTML write differently.
const KEY: &str = "k\u{e9}y/\"4711\" <42>";
const LOGIN: &str = "admin:correct-horse";

fn values() -> SecretValues {
    [("api-key", KEY), ("login", LOGIN)]
        .map(|(name, value)| (name.parse().unwrap(), SecretValue::new(value)))
        .into()
}

/// 200 with the right key and password, 401 without; either way with everything that came.
async fn echo() -> BaseUrl {
    async fn answer(uri: Uri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
        let header = |name: &str| {
            let value = headers.get(name).map(|value| value.as_bytes());
            value.map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let is_known = header("x-api-key").as_deref() == Some(KEY)
            && header("authorization").as_deref() == Some("Basic YWRtaW46Y29ycmVjdC1ob3JzZQ==");
        let status = if is_known {
            StatusCode::OK
        } else {
            StatusCode::UNAUTHORIZED
        };
        let headers: BTreeMap<String, Option<String>> = headers
            .keys()
            .map(|name| (name.to_string(), header(name.as_str())))
            .collect();
        let body = String::from_utf8_lossy(&body).into_owned();
        let told = json!({ "uri": uri.to_string(), "headers": headers, "body": body });
        (status, [("x-echo", told.to_string())], Json(told))
    }
    serve(Router::new().fallback(answer)).await
}

const WITH_BOTH: &str =
    r#"{ x-api-key: "{{secrets.api-key}}", authorization: "Basic {{b64 secrets.login}}" }"#;

#[tokio::test]
async fn headers_bodies_and_expectations_may_hold_secrets() {
    let checks = format!(
        r#"
checks:
  - name: text
    request: {{ method: POST, path: /a, headers: {WITH_BOTH}, body: "key={{{{secrets.api-key}}}}" }}
    expect: {{ status: 200, json: {{ $.body: "key={{{{secrets.api-key}}}}" }} }}
  - name: json
    request: {{ method: POST, path: /a, headers: {WITH_BOTH}, json: {{ login: "{{{{secrets.login}}}}" }} }}
    expect: {{ status: 200, body: {{ matches: "{{{{secrets.login}}}}" }} }}
"#
    );
    let suite = read(&checks).unwrap();
    let used: Vec<&str> = suite.secrets.keys().map(|name| name.as_str()).collect();
    assert_eq!(used, ["api-key", "login"]);
    let (base, recorder) = (echo().await, Recorder::default());
    let report = run(&[suite], &values(), &base, &recorder).await.unwrap();
    assert_eq!(report.counts(), (2, 0, 0), "{report:?}");
}

/// Every way in which a check can fail, and every place that tells of it.
#[tokio::test]
async fn no_secret_is_ever_shown() {
    let base = echo().await;
    for expect in [
        "{ status: 204 }",
        "{ headers: { x-echo: \"{{secrets.login}}\" } }",
        "{ headers: { x-missing: { matches: \"{{secrets.api-key}}\" } } }",
        "{ json: { $.uri: 7, $.body: 7, $.headers: 7, \"$['headers','uri']\": 7 } }",
        "{ json: { $.nothing: { not: { exists: false } } } }",
        "{ body: { contains: [\"{{secrets.api-key}}\", \"{{urlencode secrets.api-key}}\"] } }",
        "{ body: { above: \"{{secrets.login}}\" } }",
    ] {
        let checks = format!(
            r#"
deadline: 300ms
checks:
  - name: takes it
    request: {{ path: /, headers: {WITH_BOTH} }}
    capture: {{ taken: "$.headers['x-api-key']", all: {{ header: x-echo }} }}
  - name: fails
    request:
      method: POST
      path: "/{{{{secrets.login}}}}/{{{{captures.taken}}}}"
      query: {{ key: "{{{{secrets.api-key}}}}", all: "{{{{captures.all}}}}" }}
      headers: {WITH_BOTH}
      multipart: {{ key: "{{{{secrets.api-key}}}}" }}
    expect: {expect}
"#
        );
        let suite = read(&checks).unwrap();
        let recorder = Recorder::default();
        let suites = std::slice::from_ref(&suite);
        let report = run(suites, &values(), &base, &recorder).await.unwrap();
        assert_eq!(report.counts(), (1, 1, 0), "{expect}");
        let failed = SmokeFailed(report.clone());
        let told = [
            format!("{suite:?} {:?} {report:?}", values()),
            format!("{:?}", recorder.events()),
            format!("{failed:?} {failed} {:?}", failed.diagnostics()),
            junit(&report),
            json_report(&report),
            github(&report),
        ];
        assert!(told[1].contains("TaskProgress"), "it was tried again");
        for text in &told {
            for secret in ["4711", "correct-horse", "Y29ycmVjdC1ob3JzZQ"] {
                assert!(!text.contains(secret), "{expect}: {secret} in {text}");
            }
        }
        assert!(told[4].contains("<secret login>"), "{}", told[4]);
    }
}

#[tokio::test]
async fn a_secret_that_no_report_could_hide_is_refused() {
    let suite = read(
        "checks:\n  - name: a\n    request: { path: /, headers: { x-api-key: \"{{secrets.api-key}}\" } }\n",
    )
    .unwrap();
    let pin = SecretValues::from([("api-key".parse().unwrap(), SecretValue::new("12345"))]);
    for (values, why) in [
        (
            pin,
            "secret `api-key` is too short to be kept out of reports",
        ),
        (SecretValues::new(), "secret `api-key` has no value"),
    ] {
        let base = BaseUrl("http://127.0.0.1:9/".parse().unwrap());
        let suites = std::slice::from_ref(&suite);
        let error = run(suites, &values, &base, &Recorder::default())
            .await
            .unwrap_err();
        assert_eq!(
            (error.exit(), error.to_string().as_str()),
            (Exit::BadInput, why)
        );
        let problem = error.diagnostics().remove(0);
        let place = problem.labels[0].span.to_string();
        assert_eq!(place, "services/birthday/smoke.yaml:3:47");
    }
}

#[test]
fn a_header_of_what_is_not_there_is_not_sent() {
    let suite = read(
        r#"
checks:
  - name: a
    request:
      path: "/{{secrets.unknown?}}"
      headers:
        a: "{{secrets.unknown?}}"
        b: "Bearer {{b64 secrets.unknown?}}"
        c: "{{values.unknown?}}"
        d: "{{values.nothing}}"
        e: "x-{{values.nothing}}"
        f: ""
        g: "{{secrets.api-key?}}"
        h: "{{values.greeting?}}"
"#,
    )
    .unwrap();
    let secrets = Secrets::new(std::slice::from_ref(&suite), &values()).unwrap();
    let prepared = prepare(&suite.checks[0].request, &Scope::draw(Arc::new(secrets))).unwrap();
    assert_eq!(prepared.line(), "GET /");
    let names: Vec<&str> = prepared.headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["f", "g", "h"]);
}

/// The smoke tests of this repository's gateway ask with a key where its environment has one for them.
#[test]
fn the_gateway_is_asked_with_a_key_where_there_is_one() {
    let written = include_str!("../../../services/gateway/smoke.yaml");
    // The fixture's stack has none of the services behind it.
    let lines = written.lines().filter(|line| !line.contains("needs:"));
    let written = &lines.collect::<Vec<_>>().join("\n");
    let key_of_http = |written: &str| -> Vec<Option<String>> {
        let suite = read(written).unwrap();
        let secrets = Secrets::new(std::slice::from_ref(&suite), &values()).unwrap();
        let scope = Scope::draw(Arc::new(secrets));
        let public = suite.checks.iter().map(|check| &check.request);
        public
            .filter(|request| request.port.as_str() == "http")
            .map(|request| {
                let prepared = prepare(request, &scope).unwrap();
                let mut headers = prepared.headers();
                let key = headers.find(|(name, _)| *name == "x-api-key");
                key.map(|(_, value)| value.to_owned())
            })
            .collect()
    };
    let without = key_of_http(written);
    assert!(without.len() >= 10 && without.iter().all(Option::is_none));
    // The fixture's environment has another name for it.
    let with = key_of_http(&written.replace("gateway-smoke-key", "api-key"));
    assert_eq!(with.len(), without.len());
    assert!(
        with.iter().all(|key| key.as_deref() == Some(KEY)),
        "{with:?}"
    );
}
