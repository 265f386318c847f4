//! What is too large, too slow, or no request at all.

use std::time::{Duration, Instant};

use gateway::{Stub, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::start;

#[tokio::test]
async fn headers_and_bodies_have_limits() {
    let upload = Stub::start("upload").await;
    let gateway = start!(&[
        ("UPLOAD_ADDRESS", &upload.address()),
        ("MAX_BODY_BYTES", "2000"),
    ]);
    let client = gateway.client();
    let fits = request("POST", "/upload", &[], &"b".repeat(2000));
    assert_eq!(client.send(&fits).await.status, 200);
    let large = request("POST", "/upload", &[("content-length", "2001")], "");
    let answer = client.send(&large).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.problem(), "body-too-large");

    let fits = "h".repeat(15_000);
    assert_eq!(client.get("/jobs", &[("x-h", &fits)]).await.status, 200);
    let large = "h".repeat(17_000);
    let answer = client.get("/jobs", &[("x-h", &large)]).await;
    assert_eq!(answer.status, 431);
    assert_eq!(answer.problem(), "headers-too-large");
    // The last thing that HAProxy says by itself.
    let huge = "h".repeat(40_000);
    assert_eq!(client.get("/jobs", &[("x-h", &huge)]).await.status, 400);
}

#[tokio::test]
async fn what_is_no_request_reaches_nobody() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[("PICTURE_ADDRESS", &picture.address())]);
    for nonsense in [
        "NONSENSE\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nbad header: x\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "GET /\u{0} HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let answer = gateway.client().send(nonsense).await;
        assert_eq!(answer.status, 400, "{nonsense:?}");
    }
    let log = gateway.log(4).await;
    assert!(
        log.iter().all(|line| line["service"] != "picture"),
        "{log:?}"
    );
}

#[tokio::test]
async fn a_request_that_trickles_in_is_not_waited_for() {
    let gateway = start!(&[]);
    let mut stream = gateway.client().connect().await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n")
        .await
        .unwrap();
    let started = Instant::now();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(12));
}
