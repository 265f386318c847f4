//! The program as Kubernetes runs it: the id that goes with a fetch, and an end that drops no request.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use service_kit::testing::{Program, REQUEST_ID, ask, starts_alone};

const PICTURE: &str = env!("CARGO_BIN_EXE_picture");
/// Enough for anything, also on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);

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

fn start(backend: &str) -> Program {
    let variables = [
        ("DRAIN_SECONDS", "0"),
        ("TTL_SECONDS", "0.5"),
        ("WAIT_SECONDS", "30"),
        ("REQUEST_SECONDS", "60"),
        ("BACKEND_URL", backend),
    ];
    Program::start(PICTURE, &variables)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LONG, "never: {what}");
        sleep(Duration::from_millis(10));
    }
}

fn has(picture: &[u8], comment: &str) -> bool {
    picture == gif(comment)
}

#[test]
fn alone_it_starts_and_ends_and_in_a_pod_it_wants_its_volume() {
    let (url, _ids, words) = backend();
    words.send("one").unwrap();
    let given = [("BACKEND_URL", url.as_str())];
    starts_alone(PICTURE, &given, &["picture"], &["CACHE_DIR"]);
}

#[test]
fn a_fetch_is_in_the_log_under_the_id_that_the_backend_gets() {
    let (url, ids, words) = backend();
    let mut program = start(&url);
    for word in ["one", "two"] {
        let id = ids.recv().unwrap();
        words.send(word).unwrap();
        let line = program.wait_for_log("a new picture");
        assert_eq!(line["span"]["request_id"], id.as_str(), "{line}");
        assert_eq!(id.len(), 36, "{id}");
    }
    assert!(has(&program.ask("GET /picture", "").body, "two"));
    let answered = program.wait_for_log("answered");
    assert_eq!(answered["span"]["request_id"], REQUEST_ID, "{answered}");
}

#[test]
fn a_request_that_waits_is_answered_after_sigterm() {
    let (url, ids, words) = backend();
    let mut program = start(&url);
    ids.recv().unwrap();
    words.send("old").unwrap();
    program.wait_for_log("a new picture");
    // Its time is up, and the next is being fetched: one request gets the old one, the other waits.
    ids.recv().unwrap();
    assert!(has(&program.ask("GET /picture", "").body, "old"));
    let address = program.address();
    let waiting = spawn(move || ask(address, "GET /picture", ""));
    wait_until("it and this one are open", || {
        let metrics = program.ask("GET /metrics", "");
        metrics.text().contains("http_requests_in_flight 2\n")
    });
    program.terminate();
    program.wait_for_log("draining");
    wait_until("nothing listens", || TcpStream::connect(address).is_err());
    assert!(!waiting.is_finished(), "it did not wait");
    words.send("new").unwrap();
    let answer = waiting.join().unwrap();
    assert!(answer.status == 200 && has(&answer.body, "new"), "{answer}");
    assert_eq!(program.exit_code(), 0);
}
