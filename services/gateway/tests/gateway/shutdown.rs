//! Its end: readiness fails first, new requests are taken until others know, and open ones get their answers.

use std::time::{Duration, Instant};

use gateway::{Client, Stub};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::start;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_under_load_drops_nothing() {
    let picture = Stub::start("picture").await;
    let birthday = Stub::start("birthday").await;
    let mut gateway = start!(&[
        ("PICTURE_ADDRESS", &picture.address()),
        ("BIRTHDAY_ADDRESS", &birthday.address()),
        ("RATE_LIMIT", "0"),
        ("DRAIN_SECONDS", "5"),
    ]);
    let client = gateway.client();
    let until = Instant::now() + Duration::from_secs(3);
    // Others look elsewhere two seconds after readiness failed.
    let load: Vec<_> = (0..8)
        .map(|_| tokio::spawn(ask_until(client, until)))
        .collect();
    sleep(Duration::from_secs(1)).await;
    gateway.stop();
    sleep(Duration::from_millis(1000)).await;
    assert_eq!(gateway.internal().get("/readyz", &[]).await.status, 503);
    assert_eq!(gateway.internal().get("/healthz", &[]).await.status, 200);
    sleep(Duration::from_millis(1500)).await;
    // Taken before the ports close, and done after that.
    let slow = client.get("/hello/slow", &[]).await;
    assert_eq!(slow.status, 200, "{}", slow.text());
    let mut served = 0;
    for worker in load {
        served += worker.await.unwrap();
    }
    assert!(served > 100, "{served}");
    assert!(gateway.ended().await.success(), "{}", gateway.words());
    assert!(client.connect().await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn connections_that_are_kept_are_told_to_go_elsewhere() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[("PICTURE_ADDRESS", &picture.address())]);
    let mut kept = gateway.client().connect().await.unwrap();
    assert!(!ask_on(&mut kept).await.contains("connection: close"));
    assert!(!ask_on(&mut kept).await.contains("connection: close"));
    gateway.stop();
    sleep(Duration::from_millis(500)).await;
    assert!(ask_on(&mut kept).await.contains("connection: close"));
    assert_eq!(kept.read(&mut [0]).await.unwrap(), 0, "and it is closed");
}

/// Counts answers; every one has to be good.
async fn ask_until(client: Client, until: Instant) -> usize {
    let mut served = 0;
    while Instant::now() < until {
        let answer = client.get("/", &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        served += 1;
    }
    served
}

/// The head and body of an answer on a connection that is kept.
async fn ask_on(stream: &mut TcpStream) -> String {
    let request = b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let got = stream.read_buf(&mut answer).await.unwrap();
        assert!(got > 0, "{}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).unwrap()
}
