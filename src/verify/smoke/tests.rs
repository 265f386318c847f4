//! Against a server on a port of this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Multipart, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::super::fixture::read;
use super::super::{BaseUrl, ReachError};
use super::*;
use crate::event::{Recorder, Silent};
use crate::stack::{PortName, ServiceName};

/// How often `/flaky` and `/count` were asked.
#[derive(Clone, Default)]
struct Asked(Arc<AtomicUsize>);

fn app(asked: Asked) -> Router {
    Router::new()
        .route("/ok", get(|| async { "fine" }))
        .route("/broken", get(broken))
        .route("/flaky", get(flaky))
        .route("/count", post(count))
        .route("/slow", get(slow))
        .route("/moved", get(|| async { (StatusCode::FOUND, [("location", "/ok")]) }))
        .route("/hello/{name}", put(store))
        .route("/jobs", post(|| async { (StatusCode::CREATED, [("location", "http://elsewhere/jobs/7")], Json(json!({ "id": 7 }))) }))
        .route("/jobs/7", get(|query: Query<Value>| async move { Json(json!({ "state": "done", "query": query.0 })) }))
        .route("/upload", post(upload))
        .with_state(asked)
}

async fn broken() -> impl IntoResponse {
    (StatusCode::INTERNAL_SERVER_ERROR, "the database is away")
}

async fn flaky(State(asked): State<Asked>) -> impl IntoResponse {
    match asked.0.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => (StatusCode::SERVICE_UNAVAILABLE, "not yet"),
        _ => (StatusCode::OK, "now"),
    }
}

async fn count(State(asked): State<Asked>) -> StatusCode {
    asked.0.fetch_add(1, Ordering::SeqCst);
    StatusCode::SERVICE_UNAVAILABLE
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_millis(300)).await;
    "slow"
}

async fn store(
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> impl IntoResponse {
    Json(json!({
        "message": format!("Hello, {name}!"),
        "echo": body.0,
        "type": headers["content-type"].to_str().unwrap(),
        "x": headers.get("x-a").map(|value| value.to_str().unwrap()),
    }))
}

async fn upload(mut form: Multipart) -> impl IntoResponse {
    let mut fields = Vec::new();
    while let Some(field) = form.next_field().await.unwrap() {
        let name = field.name().unwrap().to_owned();
        let file = field.file_name().map(str::to_owned);
        let media_type = field.content_type().map(str::to_owned);
        let bytes = field.bytes().await.unwrap().to_vec();
        fields.push(json!([name, file, media_type, bytes]));
    }
    Json(fields)
}

pub(super) async fn serve(app: Router) -> BaseUrl {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    BaseUrl(url.parse().unwrap())
}

/// Runs one file; its checks come without the key `checks:` in front.
async fn run_checks(deadline: &str, checks: &str) -> (SmokeReport, Asked) {
    let asked = Asked::default();
    let base = serve(app(asked.clone())).await;
    let suite = read(&format!("deadline: {deadline}\nchecks:\n{checks}")).unwrap();
    let report = run(&[suite], &SecretValues::new(), &base, &Silent)
        .await
        .unwrap();
    (report, asked)
}

fn told(report: &SmokeReport) -> Vec<String> {
    report
        .checks()
        .map(|(_, check)| {
            let outcome = match &check.outcome {
                Outcome::Passed { .. } => "passed".to_owned(),
                Outcome::Skipped { reason } => format!("skipped: {reason}"),
                Outcome::Failed { failures, .. } => failures
                    .iter()
                    .map(|f| {
                        format!(
                            "{} {}: {} / {}",
                            f.span.text(),
                            f.subject,
                            f.expected,
                            f.actual
                        )
                    })
                    .collect::<Vec<_>>()
                    .join("; "),
            };
            format!("{}: {outcome}", check.name)
        })
        .collect()
}

#[tokio::test]
async fn requests_carry_what_is_written_and_answers_are_read() {
    let (report, _) = run_checks(
        "2s",
        r#"
- name: put
  request:
    method: PUT
    path: "/hello/{{random.letters}} é"
    headers: { x-a: "{{random.digits}}" }
    json: { born: "1990-01-01", replicas: "{{values.replicas}}" }
  expect:
    headers: { content-type: application/json }
    json:
      $.message: "Hello, {{random.letters}} é!"
      $.echo: { equals: { born: "1990-01-01", replicas: 2 } }
      $.type: application/json
      $.x: "{{random.digits}}"
      $.missing: { exists: false }
    duration: { below: 2s }
"#,
    )
    .await;
    assert_eq!(told(&report), ["put: passed"]);
    let (_, check) = report.checks().next().unwrap();
    assert!(check.request.starts_with("PUT /hello/") && check.attempts == 1);
}

#[tokio::test]
async fn captures_are_there_for_later_checks() {
    let (report, _) = run_checks(
        "2s",
        r#"
- name: create
  request: { method: POST, path: /jobs }
  expect: { status: 201 }
  capture: { id: $.id, place: { header: location } }
- name: follow
  request: { path: "{{captures.place}}", query: { id: "{{captures.id}}", q: "a b&c" } }
  expect: { json: { $.state: done, $.query: { equals: { id: "7", q: "a b&c" } } } }
"#,
    )
    .await;
    assert_eq!(told(&report), ["create: passed", "follow: passed"]);
}

#[tokio::test]
async fn what_cannot_be_captured_fails_at_its_place() {
    let (report, _) = run_checks(
        "200ms",
        "- { name: a, request: { path: /ok }, capture: { id: $.id } }",
    )
    .await;
    assert_eq!(
        told(&report),
        ["a: $.id $.id: a value to capture as `id` / nothing; the body is fine"]
    );
}

#[tokio::test]
async fn files_are_uploaded() {
    let (report, _) = run_checks(
        "2s",
        r#"
- name: upload
  request: { method: POST, path: /upload, multipart: { image: { file: smoke/pixel.png, type: image/png }, note: "{{values.greeting}}" } }
  expect:
    json:
      $[0]: ["image", "pixel.png", "image/png", [137, 80, 78, 71]]
      $[1]: ["note", null, null, [72, 101, 108, 108, 111]]
"#,
    )
    .await;
    assert_eq!(told(&report), ["upload: passed"]);
}

#[tokio::test]
async fn a_flaky_answer_is_tried_again() {
    let (report, asked) = run_checks("5s", "- { name: a, request: { path: /flaky } }").await;
    assert_eq!(told(&report), ["a: passed"]);
    let (_, check) = report.checks().next().unwrap();
    assert_eq!((check.attempts, asked.0.load(Ordering::SeqCst)), (3, 3));
    assert!(check.elapsed >= Duration::from_millis(250), "with pauses");
}

#[tokio::test]
async fn what_needs_a_disabled_service_is_skipped_and_the_rest_runs() {
    let (report, asked) = run_checks(
        "5s",
        "
- { name: mail, needs: [birthday, mailer], request: { path: /flaky }, capture: { id: $ } }
- { name: the mail, needs: [mailer], request: { path: '/{{captures.id}}' } }
- { name: ok, needs: [birthday], request: { path: /ok } }
",
    )
    .await;
    assert_eq!(
        told(&report),
        [
            "mail: skipped: `mailer` is disabled",
            "the mail: skipped: `mailer` is disabled",
            "ok: passed"
        ]
    );
    assert_eq!(asked.0.load(Ordering::SeqCst), 0);
    assert_eq!(report.summary(), "1 passed, 2 skipped");
    assert!(report.into_result().is_ok());
}

#[tokio::test]
async fn the_deadline_ends_it_and_the_rest_is_skipped() {
    let start = Instant::now();
    let (report, _) = run_checks(
        "700ms",
        "
- { name: ok, request: { path: /ok } }
- { name: bad, request: { path: /broken }, expect: { status: 200, body: { contains: fine } } }
- { name: never, request: { path: /ok } }
",
    )
    .await;
    assert_eq!(
        told(&report),
        [
            "ok: passed",
            "bad: 200 status: 200 / 500; { contains: fine } body: something that contains \"fine\" \
             / \"the database is away\"",
            "never: skipped: `bad` failed before it",
        ]
    );
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(report.summary(), "1 passed, 1 failed, 1 skipped");
    let (_, bad) = report.checks().nth(1).unwrap();
    assert!(
        (3..=5).contains(&bad.attempts),
        "100 + 150 + 225 ms fit: {}",
        bad.attempts
    );
}

#[tokio::test]
async fn what_must_not_be_repeated_is_sent_once() {
    let (report, asked) = run_checks(
        "2s",
        "- { name: a, request: { method: POST, path: /count }, retry: false }",
    )
    .await;
    assert_eq!(asked.0.load(Ordering::SeqCst), 1);
    assert_eq!(report.counts(), (0, 1, 0));
}

#[tokio::test]
async fn slow_answers_miss_limits_and_timeouts() {
    let (report, _) = run_checks(
        "100ms",
        "- { name: a, request: { path: /slow }, expect: { duration: { below: 100ms } } }",
    )
    .await;
    let line = &told(&report)[0];
    assert!(
        line.starts_with("a: 100ms duration: below 100ms / 3"),
        "{line}"
    );

    let (report, _) = run_checks(
        "100ms",
        "- { name: a, request: { path: /slow, timeout: 50ms } }",
    )
    .await;
    assert_eq!(
        told(&report),
        ["a: { path: /slow, timeout: 50ms } request: an answer / there was no answer within 50ms"]
    );
}

#[tokio::test]
async fn redirects_are_answers() {
    let (report, _) = run_checks(
        "200ms",
        "- { name: a, request: { path: /moved }, expect: { status: 302, headers: { location: /ok } } }",
    )
    .await;
    assert_eq!(told(&report), ["a: passed"]);
}

/// A service that cannot be reached at first.
struct LateReach {
    asked: AtomicUsize,
    base: BaseUrl,
}

impl Reach for LateReach {
    async fn url(
        &self,
        service: &ServiceName,
        port: &PortName,
    ) -> Result<reqwest::Url, ReachError> {
        match self.asked.fetch_add(1, Ordering::SeqCst) {
            0 => Err(ReachError::NoPort {
                service: service.clone(),
                port: port.clone(),
            }),
            // Nothing listens there.
            1 => Ok("http://127.0.0.1:9/".parse().unwrap()),
            _ => self.base.url(service, port).await,
        }
    }
}

#[tokio::test]
async fn what_was_never_sent_is_tried_again_even_without_retry() {
    let asked = Asked::default();
    let reach = LateReach {
        asked: AtomicUsize::new(0),
        base: serve(app(asked.clone())).await,
    };
    let suite = read("checks: [{ name: a, request: { method: POST, path: /count }, expect: { status: 503 }, retry: false }]").unwrap();
    let report = run(&[suite], &SecretValues::new(), &reach, &Silent)
        .await
        .unwrap();
    assert_eq!(told(&report), ["a: passed"]);
    assert_eq!(asked.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn files_run_at_the_same_time_and_report_events() {
    let base = serve(app(Asked::default())).await;
    let slow =
        "checks: [{ name: a, request: { path: /slow } }, { name: b, request: { path: /slow } }]";
    let suites: Vec<Suite> = (0..4).map(|_| read(slow).unwrap()).collect();
    let recorder = Recorder::default();
    let start = Instant::now();
    let report = run(&suites, &SecretValues::new(), &base, &recorder)
        .await
        .unwrap();
    assert_eq!(report.counts(), (8, 0, 0));
    let took = start.elapsed();
    assert!(
        took < Duration::from_millis(1500),
        "not 8 times 300 ms: {took:?}"
    );
    let finished = recorder.events().into_iter().filter(|event| {
        matches!(event, Event::TaskFinished { task, outcome: TaskOutcome::Done, .. } if task == "birthday")
    });
    assert_eq!(finished.count(), 4);
    assert!(matches!(
        recorder.events().last(),
        Some(Event::PhaseFinished { phase: Phase::Smoke, summary, .. }) if summary == "8 passed"
    ));
}
