//! The program alone: what it starts with, and what it refuses to start with.
#![allow(clippy::unwrap_used)]

use std::thread::sleep;
use std::time::{Duration, Instant};

use service_kit::testing::{Program, refusal, starts_alone};

const HITS_API: &str = env!("CARGO_BIN_EXE_hits-api");
const REDIS: (&str, &str) = ("REDIS_URL", "redis://:hunter2@127.0.0.1:1");
const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/hits");

#[test]
fn alone_it_starts_and_ends_and_in_a_pod_it_wants_its_stores() {
    starts_alone(
        HITS_API,
        &[],
        &["increments", "sums"],
        &[REDIS.0, DATABASE.0],
    );
}

#[test]
fn alone_it_counts() {
    let program = Program::start(HITS_API, &[]);
    let key = "0b9d4c5e-7a51-4f0e-9f0f-5d2f3a1c7e55";
    let body = format!("{{\"key\":\"{key}\",\"value\":7}}");
    let accepted = program.ask("POST /increment", &body);
    assert_eq!(accepted.status, 200, "{accepted}");
    let started = Instant::now();
    loop {
        let sum = program.ask(&format!("GET /increment/{key}"), "");
        if sum.status == 200 && sum.json()["value"] == 7 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(9), "{sum}");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn one_server_without_the_other_is_exit_code_2_and_names_both() {
    for (variable, missing) in [(REDIS, "DATABASE_URL"), (DATABASE, "REDIS_URL")] {
        let refused = refusal(HITS_API, &[variable]);
        assert_eq!(refused.exit_code, Some(2));
        let given = variable.0;
        assert_eq!(
            refused.message,
            format!(
                "hits-api: 1 environment variable cannot be used\n  {missing}: not set, expected it beside \
                 {given}, which is set, or neither, to keep all in memory\n"
            )
        );
    }
}
