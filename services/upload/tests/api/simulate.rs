//! The load test `simulate`: against a real process that is restarted under
//! it, and against servers that lose what they accepted.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Multipart, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use service_kit::testing::free_port;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::process::Process;

fn simulate(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simulate"));
    command
        .arg(url)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn report(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"))
}

#[tokio::test]
async fn nothing_is_lost_when_the_service_is_restarted_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    // As many as one client has places: it is not to wait for workers.
    let workers = [("N_WORKERS", "8")];
    let mut process = Process::start(folder.path(), port, &workers).await;
    let arguments = ["--uploads", "400", "--clients", "16", "--json"];
    let load = simulate(&process.url, &arguments).spawn().unwrap();
    process.has_accepted(100).await;
    process.terminate();
    assert!(process.exit().await.success(), "{}", process.log());
    let process = Process::start(folder.path(), port, &workers).await;
    let output = load.wait_with_output().await.unwrap();
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    let after = process.metric("upload_accepted_total").await;
    assert!((1.0..=300.0).contains(&after), "{after} after the restart");
    for (field, expected) in [
        ("version", 1),
        ("uploads", 400),
        ("clients", 16),
        ("accepted", 400),
        ("gaveUp", 0),
        ("done", 400),
        ("failed", 0),
        ("lost", 0),
    ] {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
    let answer = &report["answerSeconds"];
    let (p50, p99) = (answer["p50"].as_f64(), answer["p99"].as_f64());
    assert!(p50 > Some(0.0) && p50 <= p99, "{report}");
    assert!(report["uploadsPerSecond"].as_f64() > Some(0.0), "{report}");
}

/// A server that says what it is told to, about images that it has.
#[derive(Clone, Default)]
struct Liar {
    images: Arc<Mutex<Vec<Bytes>>>,
    /// How many uploads are refused first.
    refusals: usize,
    asked: Arc<AtomicUsize>,
    /// What becomes of the first job; the others are done.
    first: Option<Value>,
    /// Whether the first image is another one than was sent.
    mixes_up: bool,
}

impl Liar {
    async fn start(self) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/upload", post(upload))
            .route("/jobs/{id}", get(job))
            .route("/images/{id}/{variant}", get(image))
            .with_state(self);
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}/")
    }
}

async fn upload(State(liar): State<Liar>, mut form: Multipart) -> Response {
    let field = form.next_field().await.unwrap().unwrap();
    assert_eq!(field.name(), Some("image"));
    let image = field.bytes().await.unwrap();
    if liar.asked.fetch_add(1, Ordering::Relaxed) < liar.refusals {
        let problem = Json(json!({ "code": "too-many-requests" }));
        let wait = [("retry-after", "1")];
        return (StatusCode::TOO_MANY_REQUESTS, wait, problem).into_response();
    }
    let mut images = liar.images.lock().unwrap();
    images.push(image);
    let id = (images.len() - 1).to_string();
    (StatusCode::ACCEPTED, Json(json!({ "id": id }))).into_response()
}

async fn job(State(liar): State<Liar>, Path(id): Path<usize>) -> Response {
    match (&liar.first, id) {
        (Some(Value::Null), 0) => StatusCode::NOT_FOUND.into_response(),
        (Some(job), 0) => Json(job).into_response(),
        _ => {
            let variants = ["original", "medium", "thumbnail"];
            Json(json!({ "state": "done", "variants": variants })).into_response()
        }
    }
}

async fn image(State(liar): State<Liar>, Path((id, _)): Path<(usize, String)>) -> Response {
    let id = if liar.mixes_up && id == 0 { 1 } else { id };
    liar.images.lock().unwrap()[id].clone().into_response()
}

/// The exit code and the report of ten uploads.
async fn ten_uploads(liar: Liar) -> (Option<i32>, Value) {
    let url = liar.start().await;
    let arguments = [
        "--uploads",
        "10",
        "--clients",
        "3",
        "--patience",
        "3",
        "--json",
    ];
    let output = simulate(&url, &arguments).output().await.unwrap();
    (output.status.code(), report(&output))
}

#[tokio::test]
async fn it_says_what_became_of_each_upload() {
    let done = |variants: &[&str]| json!({ "state": "done", "variants": variants });
    for (name, first, mixes_up, (failed, lost)) in [
        ("all is well", None, false, (0, 0)),
        ("a job vanished", Some(Value::Null), false, (0, 1)),
        (
            "a job never ends",
            Some(json!({ "state": "running" })),
            false,
            (0, 1),
        ),
        ("a job has no images", Some(done(&[])), false, (0, 1)),
        (
            "a job has too few images",
            Some(done(&["original", "thumbnail"])),
            false,
            (0, 1),
        ),
        ("images are mixed up", None, true, (0, 1)),
        (
            "a job failed",
            Some(json!({ "state": "failed", "reason": "cut off" })),
            false,
            (1, 0),
        ),
    ] {
        let liar = Liar {
            first,
            mixes_up,
            ..Liar::default()
        };
        let (code, report) = ten_uploads(liar).await;
        assert_eq!(code, Some(i32::from(failed + lost > 0)), "{name}");
        assert_eq!(report["accepted"], 10, "{name}");
        assert_eq!(report["done"], 10 - failed - lost, "{name}");
        assert_eq!(report["failed"], failed, "{name}");
        assert_eq!(report["lost"], lost, "{name}");
    }
}

#[tokio::test]
async fn it_waits_as_long_as_it_is_asked_to() {
    let liar = Liar {
        refusals: 5,
        ..Liar::default()
    };
    let started = Instant::now();
    let (code, report) = ten_uploads(liar.clone()).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["refused"], json!({ "too-many-requests": 5 }));
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(liar.asked.load(Ordering::Relaxed), 15);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_no_success() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let arguments = ["--uploads", "2", "--clients", "2", "--patience", "1"];
    let output = simulate(&url, &arguments).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("no-answer"), "{table}");
    assert!(table.contains("gave up         2"), "{table}");
}
