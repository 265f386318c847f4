//! What is true of every service: alone, in a pod, and at its end.

use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::program::{Program, REQUEST_ID, refusal};

/// What a service needs at first, it has to find within this time.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// For the listener to close once it was told to.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Starts the program at `path` with nothing configured but what is `given`. It keeps what `stores` names in memory, says
/// so in its log and in `/readyz`, becomes ready, knows what it is, has an answer with the id of the request to
/// everything, and ends on SIGTERM with a drain and exit code 0. In a pod a service with stores refuses to start, with
/// exit code 2 and the names of all `variables`.
///
/// # Panics
/// When that is not so.
pub fn starts_alone(path: &str, given: &[(&str, &str)], stores: &[&str], variables: &[&str]) {
    let mut program = Program::start(path, &[given, &[("DRAIN_SECONDS", "3")]].concat());
    let said = program.before_serving().iter();
    let said: Vec<_> = said.filter(|line| line["store"].is_string()).collect();
    assert_eq!(said.len(), stores.len(), "{said:?}");
    for (line, store) in said.iter().zip(stores) {
        assert_eq!(line["level"], "WARN", "{line}");
        assert_eq!(line["message"], "embedded store, not for production");
        assert_eq!(
            (&line["store"], &line["place"]),
            (&json!(store), &json!("memory"))
        );
    }

    let ready = wait_until_ready(&program);
    let expected = stores.iter();
    let expected: Vec<_> = expected
        .map(|store| json!({"name": store, "place": "memory", "embedded": true}))
        .collect();
    assert_eq!(ready["stores"], json!(expected));
    knows_itself(&program);
    ends_when_asked(&mut program);

    if !stores.is_empty() {
        let pod = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        let refused = refusal(path, &[given, &[pod]].concat());
        assert_eq!(refused.exit_code, Some(2), "{refused:?}");
        for variable in variables {
            let missing = format!("  {variable}: not set");
            assert!(refused.message.contains(&missing), "{refused:?}");
        }
    }
}

fn wait_until_ready(program: &Program) -> Value {
    let started = Instant::now();
    loop {
        let answer = program.ask("GET /readyz", "");
        if answer.status == 200 {
            let report = answer.json();
            assert_eq!(report["status"], "ready");
            return report;
        }
        assert!(started.elapsed() < READY_LIMIT, "{answer}");
        sleep(Duration::from_millis(50));
    }
}

fn knows_itself(program: &Program) {
    let healthy = program.ask("GET /healthz", "");
    assert_eq!(healthy.status, 200, "{healthy}");
    let version = program.ask("GET /version", "").json();
    for fact in ["name", "version", "toolchain", "profile", "target"] {
        assert!(version[fact].is_string(), "{fact}: {version}");
    }
    let document = program.ask("GET /openapi.json", "").json();
    assert_eq!(document["info"]["title"], version["name"]);
    let nothing = program.ask("GET /there/is/nothing/here", "");
    assert_eq!(nothing.problem(), "not-found");
    assert_eq!(nothing.headers["x-request-id"], REQUEST_ID);
    let metrics = program.ask("GET /metrics", "");
    assert!(metrics.text().contains("http_requests_total"), "{metrics}");
}

fn ends_when_asked(program: &mut Program) {
    program.terminate();
    program.wait_for_log("draining");
    let unready = program.ask("GET /readyz", "");
    assert_eq!(unready.status, 503, "{unready}");
    assert_eq!(unready.json()["status"], "draining");
    assert_eq!(program.ask("GET /healthz", "").status, 200);
    let asked = Instant::now();
    while TcpStream::connect(program.address()).is_ok() {
        assert!(asked.elapsed() < CLOSE_LIMIT, "it still listens");
        sleep(Duration::from_millis(20));
    }
    program.wait_for_log("stopped");
    assert_eq!(program.exit_code(), 0);
}
