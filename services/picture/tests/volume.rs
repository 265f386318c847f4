//! The folder of the kept picture: through `kill -9` at any moment, and where it cannot be used.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use picture::kept;
use serde_json::Value;
use service_kit::testing::{Program, Random, refusal};

const PICTURE: &str = env!("CARGO_BIN_EXE_picture");
/// Enough for anything, also on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);
const ROUNDS: usize = 30;
/// Of a picture: so much that keeping it takes a while.
const BLOCKS: usize = 16_000;

fn start(backend: &str, folder: &Path, ttl: &str) -> Program {
    Program::start(PICTURE, &variables(backend, folder, ttl))
}

fn variables<'a>(backend: &'a str, folder: &'a Path, ttl: &'a str) -> [(&'a str, &'a str); 3] {
    let folder = folder.to_str().unwrap();
    [
        ("BACKEND_URL", backend),
        ("TTL_SECONDS", ttl),
        ("CACHE_DIR", folder),
    ]
}

/// A backend that sends another picture each time.
fn backend() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    spawn(move || {
        for (stream, number) in listener.incoming().zip(0u32..) {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&stream).lines();
            // One that is killed breaks off.
            let _ = lines
                .take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
                .count();
            let picture = gif(number);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                picture.len()
            );
            let whole = [head.as_bytes(), &picture].concat();
            let _ = stream.write_all(&whole);
        }
    });
    url
}

/// A picture of one pixel with a long comment.
fn gif(number: u32) -> Vec<u8> {
    let mut file = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xfe".to_vec();
    for block in 0..BLOCKS {
        file.push(252);
        file.extend_from_slice(&number.wrapping_mul(block as u32).to_be_bytes().repeat(63));
    }
    file.extend_from_slice(b"\0,\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;");
    file
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LONG, "never: {what}");
        sleep(Duration::from_micros(100));
    }
}

/// The files in a folder, and how long each is.
fn sizes(folder: &Path) -> BTreeMap<OsString, u64> {
    let files = fs::read_dir(folder).unwrap().flatten();
    let size = |file: fs::DirEntry| (file.file_name(), file.metadata().map_or(0, |of| of.len()));
    files.map(size).collect()
}

/// The picture in a folder.
fn kept_in(folder: &Path) -> Vec<u8> {
    let content = fs::read(folder.join("picture")).unwrap();
    let end = content.iter().position(|byte| *byte == b'\n');
    let head = &content[..end.expect("a head")];
    let head: Value = serde_json::from_slice(head).expect("the head is whole");
    let source = head["source"].as_str().unwrap();
    let picture = kept(&content.clone().into(), source).expect("the picture is whole");
    picture.bytes.to_vec()
}

#[test]
fn the_kept_picture_is_whole_and_used_again_whenever_the_service_is_killed() {
    let mut random = Random::seeded();
    let url = backend();
    let folder = tempfile::tempdir().unwrap();
    let first = start(&url, folder.path(), "3600");
    wait_until("a picture is kept", || {
        folder.path().join("picture").exists()
    });
    first.kill();
    for round in 0..ROUNDS {
        let service = start(&url, folder.path(), "0.1");
        let before = sizes(folder.path());
        wait_until("a picture is being kept", || sizes(folder.path()) != before);
        // Now and then long enough for it to be done.
        let longest = [4_000, 60_000][round % 2];
        sleep(Duration::from_micros(random.below(longest)));
        service.kill();

        let picture = kept_in(folder.path());
        let service = start(&url, folder.path(), "3600");
        let answer = service.ask("GET /picture", "");
        assert_eq!(answer.headers["x-picture"], "fresh", "round {round}");
        assert!(answer.body == picture, "round {round}: it is another one");
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_said_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("below");
    let refused = refusal(PICTURE, &variables("http://127.0.0.1:9/", &below, "600"));
    assert_eq!(refused.exit_code, Some(1), "{refused:?}");
    let said = format!("the folder {} cannot be used: ", below.display());
    assert!(refused.message.contains(&said), "{refused:?}");
}
