//! The program as Kubernetes runs it: environment, signals, exit code, logs.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

/// Ends the process with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counter"));
    command.env_clear();
    command
}

fn next_log(output: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("a line that is no JSON: {line}"))
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nx-request-id: id-1\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_unusable_environment_is_exit_code_2_and_every_fault() {
    let output = program()
        .env("PORT", "http")
        .env("DRAIN_SECONDS", "soon")
        .env("REDIS_URL", "http://:hunter2@redis")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        message,
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
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = program()
        .env("PORT", &port)
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    let expected = format!("counter: cannot listen on port {port}: Address already in use");
    assert!(message.starts_with(&expected), "{message}");
}

/// A service on a free port, its log and its address.
fn serving() -> (Process, BufReader<ChildStdout>, String) {
    let mut process = Process(
        program()
            .env("PORT", "0")
            .env("DRAIN_SECONDS", "1")
            .env("REDIS_URL", "redis://:hunter2@127.0.0.1:1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut output = BufReader::new(process.0.stdout.take().unwrap());
    let store = next_log(&mut output);
    assert_eq!(store["message"], "store");
    assert_eq!(store["place"], "Redis");
    let serving = next_log(&mut output);
    assert_eq!(serving["message"], "serving");
    assert_eq!(serving["service"], "counter");
    let address = serving["address"].as_str().unwrap();
    let address = address.replace("0.0.0.0", "127.0.0.1");
    (process, output, address)
}

#[test]
fn logs_are_json_with_the_request_and_without_secrets() {
    let (_process, mut output, address) = serving();
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(&address, "/counters/a").starts_with("HTTP/1.1 503"));
    let (cause, answered) = (next_log(&mut output), next_log(&mut output));
    for line in [&cause, &answered] {
        assert_eq!(line["span"]["request_id"], "id-1", "{line}");
        assert_eq!(line["span"]["path"], "/counters/a", "{line}");
        assert!(!line.to_string().contains("hunter2"), "{line}");
    }
    assert_eq!(answered["status"], 503);
}

#[test]
fn ends_on_sigterm_after_the_drain() {
    let (mut process, mut output, address) = serving();
    let asked = Instant::now();
    let pid = process.0.id().to_string();
    let kill = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(kill.unwrap().success());
    assert_eq!(next_log(&mut output)["message"], "draining");
    let unready = get(&address, "/readyz");
    assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
    assert!(unready.contains("draining"), "{unready}");
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
    let took = asked.elapsed();
    assert!((1.0..5.0).contains(&took.as_secs_f64()), "{took:?}");
}
