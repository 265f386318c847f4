//! The program as Kubernetes runs it: the id that goes with a fetch, and an end that drops no request.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Enough for anything, also on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);

/// Ends the process with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A backend that sends another picture for each word from the test, and tells the ids it was asked with.
fn backend() -> (String, Receiver<String>, Sender<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let ((ids, asked), (words, said)) = (channel(), channel());
    spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut id = String::new();
            for line in BufReader::new(&stream).lines() {
                let line = line.unwrap();
                if let Some(value) = line.strip_prefix("x-request-id: ") {
                    id = value.to_owned();
                }
                if line.is_empty() {
                    break;
                }
            }
            let _ = ids.send(id);
            let Ok(word) = said.recv() else { return };
            let body = gif(word);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    (url, asked, words)
}

/// A picture of one pixel with a comment.
fn gif(comment: &str) -> Vec<u8> {
    let mut file = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xfe".to_vec();
    file.push(comment.len() as u8);
    file.extend_from_slice(comment.as_bytes());
    file.extend_from_slice(b"\0,\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;");
    file
}

fn start(backend: &str) -> (Process, BufReader<ChildStdout>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_picture"))
        .env_clear()
        .envs([
            ("PORT", "0"),
            ("DRAIN_SECONDS", "0"),
            ("TTL_SECONDS", "0.5"),
            ("WAIT_SECONDS", "30"),
            ("REQUEST_SECONDS", "60"),
        ])
        .env("BACKEND_URL", backend)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let serving = next(&mut log, "serving");
    let address = serving["address"]
        .as_str()
        .unwrap()
        .replace("0.0.0.0", "127.0.0.1");
    (Process(child), log, address)
}

/// The next line of the log with this message; all before are JSON, too.
fn next(log: &mut BufReader<ChildStdout>, message: &str) -> Value {
    loop {
        let mut line = String::new();
        assert!(
            log.read_line(&mut line).unwrap() > 0,
            "no `{message}` in the log"
        );
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["message"] == message {
            return line;
        }
    }
}

/// The answer; bytes that are no text are replaced.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nx-request-id: id-1\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LONG, "never: {what}");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_fetch_is_in_the_log_under_the_id_that_the_backend_gets() {
    let (url, ids, words) = backend();
    let (_process, mut log, address) = start(&url);
    for word in ["one", "two"] {
        let id = ids.recv().unwrap();
        words.send(word).unwrap();
        let line = next(&mut log, "a new picture");
        assert_eq!(line["span"]["request_id"], id.as_str(), "{line}");
        assert_eq!(id.len(), 36, "{id}");
    }
    assert!(get(&address, "/picture").contains("two"));
    let answered = next(&mut log, "answered");
    assert_eq!(answered["span"]["request_id"], "id-1", "{answered}");
}

#[test]
fn a_request_that_waits_is_answered_after_sigterm() {
    let (url, ids, words) = backend();
    let (mut process, mut log, address) = start(&url);
    ids.recv().unwrap();
    words.send("old").unwrap();
    next(&mut log, "a new picture");
    // Its time is up, and the next is being fetched: one request gets the old one, the other waits.
    ids.recv().unwrap();
    assert!(get(&address, "/picture").contains("old"));
    let waiting: JoinHandle<String> = spawn({
        let address = address.clone();
        move || get(&address, "/picture")
    });
    wait_until("it and this one are open", || {
        get(&address, "/metrics").contains("http_requests_in_flight 2\n")
    });
    let pid = process.0.id().to_string();
    let kill = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(kill.unwrap().success());
    next(&mut log, "draining");
    wait_until("nothing listens", || TcpStream::connect(&address).is_err());
    assert!(!waiting.is_finished(), "it did not wait");
    words.send("new").unwrap();
    let answer = waiting.join().unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("new"),
        "{answer}"
    );
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
}
