//! The kit on a real socket: clients that are slow, that go away, that are too many; and the end of a server.
#![allow(clippy::unwrap_used)]

use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use futures_util::StreamExt;
use futures_util::stream;
use service_kit::{JsonBody, Kit, Lifecycle, Settings, about, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, spawn_blocking, yield_now};
use tokio::time::{advance, pause, sleep};

/// Real time, for what happens without any timer.
const LIMIT: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(5);
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// More than the buffers of a connection take.
const LARGE: usize = 32 << 20;

/// Stops the clock of a runtime with one thread: timers run when a test advances it, and sockets as ever.
struct Frozen {
    _until: mpsc::Sender<()>,
}

impl Frozen {
    fn clock() -> Self {
        let (until, wait) = mpsc::channel();
        // A clock that is paused goes on by itself once there is nothing to do; not so during blocking work.
        spawn_blocking(move || wait.recv());
        pause();
        Self { _until: until }
    }
}

/// A server on a free port and the means to end it.
struct Running {
    address: SocketAddr,
    lifecycle: Lifecycle,
    gates: Gates,
    trigger: Option<oneshot::Sender<()>>,
    ended: JoinHandle<()>,
}

/// The route `/gate` says when it is asked, and answers when it is told to.
#[derive(Clone, Default)]
struct Gates {
    asked: Arc<Notify>,
    open: Arc<Notify>,
}

fn settings() -> Settings {
    Settings {
        drain: DRAIN,
        request_limit: REQUEST_LIMIT,
        ..Settings::default()
    }
}

fn routes(gates: Gates) -> Router {
    let gate = || async move {
        gates.asked.notify_one();
        gates.open.notified().await;
        "done"
    };
    // It has a beginning, and no end.
    let half = || async {
        let beginning = stream::iter([Ok::<_, std::io::Error>("beginning")]);
        Body::from_stream(beginning.chain(stream::pending()))
    };
    Router::new()
        .route("/quick", get(|| async { "done" }))
        .route("/gate", get(gate))
        .route("/large", get(|| async { vec![b'x'; LARGE] }))
        .route("/half", get(half))
        .route(
            "/json",
            post(|JsonBody(text): JsonBody<String>| async { text }),
        )
}

async fn start(settings: Settings) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kit = Kit::new(about!(), settings);
    let lifecycle = kit.lifecycle().clone();
    let gates = Gates::default();
    let routes = routes(gates.clone());
    let (trigger, triggered) = oneshot::channel();
    let ended = tokio::spawn(serve(kit, listener, routes.into(), async {
        let _ = triggered.await;
    }));
    Running {
        address,
        lifecycle,
        gates,
        trigger: Some(trigger),
        ended,
    }
}

impl Running {
    fn end(&mut self) {
        let trigger = self.trigger.take().unwrap();
        trigger.send(()).unwrap();
    }

    /// Sends `text` on a connection of its own.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// The answer to one request on a connection of its own.
    async fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        let mut stream = self.send(&request).await;
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Asks until the answer has `text`.
    async fn wait_for(&self, path: &str, text: &str) {
        let started = Instant::now();
        loop {
            let answer = self.get(path).await;
            if answer.contains(text) {
                return;
            }
            assert!(started.elapsed() < LIMIT, "no `{text}` in {answer}");
        }
    }
}

/// A request on a connection that stays open.
fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-request-id: id-7\r\n\r\n")
}

/// Reads until what was read ends with `end`.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        read.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(read).unwrap()
}

/// How much comes before the server closes the connection.
async fn rest(stream: &mut TcpStream) -> usize {
    let started = Instant::now();
    let (mut length, mut buffer) = (0, vec![0; 1 << 16]);
    loop {
        match stream.try_read(&mut buffer) {
            Ok(0) => return length,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(started.elapsed() < LIMIT, "it stays open");
                yield_now().await;
            }
            Err(_) => return length,
        }
    }
}

/// Whether nothing can be read, and the connection is open.
async fn is_silent(stream: &TcpStream) -> bool {
    // Time enough for the server, which has no other work.
    for _ in 0..1000 {
        yield_now().await;
    }
    let read = stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn an_answer_that_is_not_read_keeps_its_place_until_its_time_is_up() {
    let _frozen = Frozen::clock();
    let settings = Settings {
        concurrency: 1,
        ..settings()
    };
    let running = start(settings).await;
    let mut stuck = running.send(&request("/large")).await;
    read_until(&mut stuck, "\r\n\r\n").await;
    assert!(running.get("/quick").await.contains("\"busy\""));
    // The scrape itself is the other one.
    let metrics = running.get("/metrics").await;
    assert!(metrics.contains("http_requests_in_flight 2"), "{metrics}");

    advance(REQUEST_LIMIT - Duration::from_secs(1)).await;
    assert!(running.get("/quick").await.contains("\"busy\""));
    advance(Duration::from_secs(2)).await;
    running.wait_for("/quick", "200 OK").await;
    let metrics = running.get("/metrics").await;
    assert!(metrics.contains("http_requests_in_flight 1"), "{metrics}");
    let came = rest(&mut stuck).await;
    assert!(came < LARGE, "{came}");
}

#[tokio::test]
async fn an_answer_that_is_read_slowly_comes_whole() {
    let _frozen = Frozen::clock();
    let running = start(settings()).await;
    let mut slow = running.send(&request("/large")).await;
    let head = read_until(&mut slow, "\r\n\r\n").await;
    let length = format!("content-length: {LARGE}\r\n");
    assert!(head.contains(&length), "{head}");
    let (mut left, mut part) = (LARGE, vec![0; 4 << 20]);
    while left > 0 {
        let length = part.len().min(left);
        slow.read_exact(&mut part[..length]).await.unwrap();
        left -= length;
        // Three times the limit in all.
        advance(REQUEST_LIMIT / 2).await;
    }
    assert!(part.iter().all(|byte| *byte == b'x'));
}

#[tokio::test]
async fn an_answer_whose_rest_does_not_come_is_cut_off() {
    let _frozen = Frozen::clock();
    let running = start(settings()).await;
    let mut stream = running.send(&request("/half")).await;
    read_until(&mut stream, "beginning\r\n").await;
    advance(REQUEST_LIMIT - Duration::from_secs(1)).await;
    assert!(is_silent(&stream).await);
    advance(Duration::from_secs(2)).await;
    assert_eq!(rest(&mut stream).await, 0, "also no end of the body");
}

#[tokio::test]
async fn a_connection_without_a_whole_head_is_closed_after_thirty_seconds() {
    let _frozen = Frozen::clock();
    let running = start(settings()).await;
    for begun in ["", "GET /quick HTTP/1.1\r\nhost"] {
        // The answer to the first says that the server has the rest.
        let both = request("/quick") + begun;
        let mut stream = running.send(&both).await;
        read_until(&mut stream, "done").await;
        advance(Duration::from_secs(29)).await;
        assert!(is_silent(&stream).await, "{begun:?}");
        advance(Duration::from_secs(2)).await;
        assert_eq!(rest(&mut stream).await, 0, "{begun:?}");
    }
}

#[tokio::test]
async fn more_connections_than_it_takes_wait() {
    let settings = Settings {
        connections: 1,
        ..settings()
    };
    let running = start(settings).await;
    let mut first = running.send(&request("/quick")).await;
    read_until(&mut first, "done").await;
    let mut second = running.send(&request("/quick")).await;
    let early = tokio::time::timeout(Duration::from_millis(200), second.readable()).await;
    assert!(early.is_err(), "it is answered");
    let again = request("/quick");
    first.write_all(again.as_bytes()).await.unwrap();
    read_until(&mut first, "done").await;
    drop(first);
    read_until(&mut second, "done").await;
}

#[tokio::test]
async fn half_a_body_is_refused_while_there_is_time_for_an_answer() {
    let _frozen = Frozen::clock();
    let running = start(settings()).await;
    let half = "POST /json HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 40\r\nexpect: 100-continue\r\n\r\n";
    let mut stream = running.send(half).await;
    // Which says that the server reads the body.
    read_until(&mut stream, "100 Continue\r\n\r\n").await;
    stream.write_all(b"\"half").await.unwrap();
    advance(REQUEST_LIMIT / 2 - Duration::from_secs(1)).await;
    assert!(is_silent(&stream).await);
    advance(Duration::from_secs(2)).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert!(answer.contains("\"body-too-slow\""), "{answer}");
}

#[tokio::test]
async fn a_request_whose_client_goes_is_counted() {
    let running = start(settings()).await;
    let stream = running.send(&request("/gate")).await;
    running.gates.asked.notified().await;
    drop(stream);
    let counted = r#"http_requests_total{method="GET",path="/gate",status="499"} 1"#;
    running.wait_for("/metrics", counted).await;
    let metrics = running.get("/metrics").await;
    assert!(metrics.contains("http_requests_in_flight 1"), "{metrics}");
}

#[tokio::test]
async fn drains_then_closes_then_finishes() {
    let _frozen = Frozen::clock();
    let mut running = start(settings()).await;
    let ready = running.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let mut idle = running.send(&request("/quick")).await;
    read_until(&mut idle, "done").await;
    let task_ended = Arc::new(AtomicBool::new(false));
    let (seen, stopping) = (Arc::clone(&task_ended), running.lifecycle.stopping());
    running.lifecycle.spawn(async move {
        stopping.cancelled().await;
        seen.store(true, Ordering::SeqCst);
    });

    running.end();
    running.wait_for("/readyz", "draining").await;
    let unready = running.get("/readyz").await;
    assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
    advance(DRAIN - Duration::from_secs(1)).await;
    // A new connection is served, and told not to come back on this one.
    let mut served = running.send(&request("/quick")).await;
    let served = read_until(&mut served, "done").await;
    assert!(served.starts_with("HTTP/1.1 200"), "{served}");
    assert!(served.contains("connection: close"), "{served}");
    // This one begins before the listener closes and ends after.
    let mut open = running.send(&request("/gate")).await;
    running.gates.asked.notified().await;
    assert!(is_silent(&idle).await);

    advance(Duration::from_secs(2)).await;
    let started = Instant::now();
    while TcpStream::connect(running.address).await.is_ok() {
        assert!(started.elapsed() < LIMIT, "it still listens");
    }
    assert_eq!(rest(&mut idle).await, 0);
    assert!(is_silent(&open).await);
    assert!(!task_ended.load(Ordering::SeqCst));
    running.gates.open.notify_one();
    read_until(&mut open, "done").await;
    running.ended.await.unwrap();
    assert!(task_ended.load(Ordering::SeqCst));
}

#[tokio::test]
async fn what_does_not_end_is_cut_off() {
    let frozen = Frozen::clock();
    let mut running = start(settings()).await;
    running.lifecycle.spawn(pending());
    let mut stuck = running.send(&request("/large")).await;
    read_until(&mut stuck, "\r\n\r\n").await;
    // Its client reads a little from time to time, so that only the end of the server can end it.
    let reads = tokio::spawn(async move {
        let mut part = vec![0; 4 << 20];
        loop {
            sleep(REQUEST_LIMIT / 2).await;
            stuck.read_exact(&mut part).await.unwrap();
        }
    });
    let asked = tokio::time::Instant::now();
    running.end();
    drop(frozen);
    running.ended.await.unwrap();
    reads.abort();
    // Draining, then the requests and a margin, then the tasks.
    let limit = DRAIN + REQUEST_LIMIT + Duration::from_secs(2 + 8);
    assert_eq!(asked.elapsed().as_secs(), limit.as_secs());
}

#[tokio::test]
async fn half_a_request_does_not_hold_up_the_end() {
    let frozen = Frozen::clock();
    let mut running = start(settings()).await;
    let both = request("/quick") + "GET /quick";
    let mut stream = running.send(&both).await;
    read_until(&mut stream, "done").await;
    let asked = tokio::time::Instant::now();
    running.end();
    drop(frozen);
    running.ended.await.unwrap();
    let limit = DRAIN + REQUEST_LIMIT + Duration::from_secs(2);
    assert!(asked.elapsed() <= limit, "{:?}", asked.elapsed());
}
