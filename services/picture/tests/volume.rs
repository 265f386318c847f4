//! The folder of the kept picture: through `kill -9` at any moment, and where it cannot be used.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use picture::kept;
use serde_json::Value;

/// Enough for anything, also on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);
const ROUNDS: usize = 30;
/// Of a picture: so much that keeping it takes a while.
const BLOCKS: usize = 16_000;

/// Vigna's splitmix64; the same seed gives the same numbers.
struct Random(u64);

impl Random {
    /// From `STACKCTL_TEST_SEED`, or the clock; says which.
    #[expect(clippy::print_stderr, reason = "a failure can be had again")]
    fn seeded() -> Self {
        let given = std::env::var("STACKCTL_TEST_SEED").ok();
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = given.map_or_else(|| clock().as_secs(), |seed| seed.parse().unwrap());
        eprintln!("STACKCTL_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// The service, killed with `kill -9` when it is dropped.
struct Picture {
    child: Child,
    address: String,
    /// Read up to its first request; what comes then is little.
    _log: BufReader<ChildStdout>,
}

impl Picture {
    fn start(backend: &str, folder: &Path, ttl: &str) -> Self {
        let mut child = command(backend, folder, ttl).spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let serving = log
            .by_ref()
            .lines()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|line| line["message"] == "serving")
            .unwrap();
        let address = serving["address"].as_str().unwrap();
        Self {
            child,
            address: address.replace("0.0.0.0", "127.0.0.1"),
            _log: log,
        }
    }

    /// The head and the body of `GET /picture`.
    fn get(&self) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = b"GET /picture HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let body = answer.split_off(head.unwrap() + 4);
        (String::from_utf8(answer).unwrap(), body)
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(backend: &str, folder: &Path, ttl: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picture"));
    command
        .env_clear()
        .envs([("PORT", "0"), ("LOG_LEVEL", "info")])
        .envs([("BACKEND_URL", backend), ("TTL_SECONDS", ttl)])
        .env("CACHE_DIR", folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
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
    let first = Picture::start(&url, folder.path(), "3600");
    wait_until("a picture is kept", || {
        folder.path().join("picture").exists()
    });
    drop(first);
    for round in 0..ROUNDS {
        let service = Picture::start(&url, folder.path(), "0.1");
        let before = sizes(folder.path());
        wait_until("a picture is being kept", || sizes(folder.path()) != before);
        // Now and then long enough for it to be done.
        let longest = [4_000, 60_000][round % 2];
        sleep(Duration::from_micros(random.below(longest)));
        drop(service);

        let picture = kept_in(folder.path());
        let service = Picture::start(&url, folder.path(), "3600");
        let (head, body) = service.get();
        assert!(head.contains("x-picture: fresh"), "round {round}: {head}");
        assert!(body == picture, "round {round}: it is another one");
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_said_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("below");
    let ended = command("http://127.0.0.1:9/", &below, "600")
        .output()
        .unwrap();
    let error = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{error}");
    let said = format!("the folder {} cannot be used: ", below.display());
    assert!(error.contains(&said), "{error}");
}
