//! The program as Kubernetes runs it: environment, signals, exit code, logs.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;

use service_kit::testing::{Program, REQUEST_ID, refusal, starts_alone};

const COUNTER: &str = env!("CARGO_BIN_EXE_counter");

#[test]
fn alone_it_starts_and_ends_and_in_a_pod_it_wants_its_store() {
    starts_alone(COUNTER, &[], &["counters"], &["REDIS_URL"]);
}

#[test]
fn an_unusable_environment_is_exit_code_2_and_every_fault() {
    let refused = refusal(
        COUNTER,
        &[
            ("PORT", "http"),
            ("DRAIN_SECONDS", "soon"),
            ("REDIS_URL", "http://:hunter2@redis"),
        ],
    );
    assert_eq!(refused.exit_code, Some(2));
    assert_eq!(
        refused.message,
        "counter: 3 environment variables cannot be used\n  \
         PORT: found `http`, expected a port number from 0 to 65535\n  \
         DRAIN_SECONDS: found `soon`, expected seconds from 0 to 3600\n  \
         REDIS_URL: found a value (not shown, it holds a secret), \
         expected a URL such as redis://:password@host:6379/0 or \
         redis+sentinel://:password@host:26379,host:26379/0?master=name\n"
    );
}

#[test]
fn a_port_that_is_taken_is_exit_code_1() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let variables = [
        ("PORT", port.as_str()),
        ("REDIS_URL", "redis://127.0.0.1:1"),
    ];
    let refused = refusal(COUNTER, &variables);
    assert_eq!(refused.exit_code, Some(1));
    let expected = format!("counter: cannot listen on port {port}: Address already in use");
    assert!(refused.message.starts_with(&expected), "{refused:?}");
}

#[test]
fn logs_are_json_with_the_request_and_without_secrets() {
    let url = ("REDIS_URL", "redis://:hunter2@127.0.0.1:1");
    let mut program = Program::start(COUNTER, &[url]);
    let store = &program.before_serving()[0];
    assert_eq!(
        (store["message"].as_str(), store["place"].as_str()),
        (Some("store"), Some("Redis"))
    );
    assert_eq!(program.ask("GET /healthz", "").status, 200);
    assert_eq!(program.ask("GET /counters/a", "").status, 503);
    let (cause, answered) = (program.next_log(), program.next_log());
    for line in [&cause, &answered] {
        assert_eq!(line["span"]["request_id"], REQUEST_ID, "{line}");
        assert_eq!(line["span"]["path"], "/counters/a", "{line}");
        assert!(!line.to_string().contains("hunter2"), "{line}");
    }
    assert_eq!(answered["status"], 503);
}
