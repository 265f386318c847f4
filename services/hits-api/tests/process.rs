//! The program alone: what it starts with, and what it refuses to start with.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const REDIS: (&str, &str) = ("REDIS_URL", "redis://:hunter2@127.0.0.1:1");
const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/hits");

/// Ends the process with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hits-api"));
    command.env_clear();
    command
}

fn ask(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let text = format!(
        "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn alone_it_starts_with_all_in_memory_and_counts() {
    let mut command = program();
    let child = command.env("PORT", "0").stdout(Stdio::piped()).spawn();
    let mut process = Process(child.unwrap());
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    for store in ["increments", "sums"] {
        let said = next();
        assert_eq!(said["level"], "WARN", "{said}");
        assert_eq!(said["message"], "embedded store, not for production");
        assert_eq!(
            (&said["store"], &said["place"]),
            (&store.into(), &"memory".into())
        );
    }
    let address = next()["address"]
        .as_str()
        .unwrap()
        .replace("0.0.0.0", "127.0.0.1");

    let key = "0b9d4c5e-7a51-4f0e-9f0f-5d2f3a1c7e55";
    let body = format!("{{\"key\":\"{key}\",\"value\":7}}");
    let accepted = ask(&address, "POST /increment", &body);
    assert!(accepted.starts_with("HTTP/1.1 200"), "{accepted}");
    let started = Instant::now();
    loop {
        let sum = ask(&address, &format!("GET /increment/{key}"), "");
        if sum.ends_with("\"value\":7}") {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{sum}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn one_server_without_the_other_is_exit_code_2_and_names_both() {
    for ((given, url), missing) in [(REDIS, "DATABASE_URL"), (DATABASE, "REDIS_URL")] {
        let output = program().env(given, url).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            message,
            format!(
                "hits-api: 1 environment variable cannot be used\n  {missing}: not set, expected it beside \
                 {given}, which is set, or neither, to keep all in memory\n"
            )
        );
    }
}

#[test]
fn in_kubernetes_nothing_is_kept_in_memory() {
    let pod = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    let output = program().env(pod.0, pod.1).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("REDIS_URL: not set"), "{message}");
    assert!(message.contains("DATABASE_URL: not set"), "{message}");
}
