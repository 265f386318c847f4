//! What is too large, too slow, or no request at all.

use std::time::{Duration, Instant};

use gateway::{Stub, request};
use service_kit::testing::Answer;
use tokio::io::AsyncWriteExt;

use crate::{metric, start, until};

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
    for length in [
        "2001",
        // 2^31, 2^32 + 1, 2^63 - 1, 2^64 - 1, 2^64: where numbers end.
        "2147483648",
        "4294967297",
        "9223372036854775807",
        "18446744073709551615",
        "18446744073709551616",
    ] {
        let large = request("POST", "/upload", &[("content-length", length)], "");
        let answer = client.send(&large).await;
        assert_eq!(answer.status, 413, "{length}");
        assert_eq!(answer.problem(), "body-too-large");
    }
    // A length that is not said is the service's business, even where all of the body is there.
    let chunk = format!("bb8\r\n{}\r\n0\r\n\r\n", "b".repeat(3000));
    let chunked = [("transfer-encoding", "chunked")];
    let unsaid = request("POST", "/upload", &chunked, "") + &chunk;
    assert_eq!(client.send(&unsaid).await.status, 200);

    let fits = "h".repeat(15_000);
    assert_eq!(client.get("/jobs", &[("x-h", &fits)]).await.status, 200);
    let large = "h".repeat(17_000);
    let answer = client.get("/jobs", &[("x-h", &large)]).await;
    assert_eq!(answer.status, 431);
    assert_eq!(answer.problem(), "headers-too-large");
    let huge = "h".repeat(40_000);
    let answer = client.get("/jobs", &[("x-h", &huge)]).await;
    assert_eq!(answer.status, 400);
    assert!(is_plain(&answer), "{answer:?}");
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
        assert!(is_plain(&answer), "{nonsense:?}: {answer:?}");
    }
    let log = gateway.log(4).await;
    assert!(
        log.iter().all(|line| line["service"] != "picture"),
        "{log:?}"
    );
}

#[tokio::test]
async fn http_2_is_not_spoken() {
    let gateway = start!(&[]);
    // What begins a connection of HTTP/2 where both sides know that they speak it.
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let answer = gateway.client().exchange(preface).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
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
    let answer = gateway::answer(stream).await;
    assert_eq!(answer.status, 408);
    assert!(is_plain(&answer), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(12));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_problem() {
    let upload = Stub::start("upload").await;
    let gateway = start!(&[("UPLOAD_ADDRESS", &upload.address())]);
    let mut stream = gateway.client().connect().await.unwrap();
    let chunked = [("transfer-encoding", "chunked")];
    let head = request("POST", "/upload", &chunked, "");
    stream.write_all(head.as_bytes()).await.unwrap();
    // It is a request by now.
    until(async || {
        metric(
            &gateway,
            "haproxy_backend_current_sessions{proxy=\"upload\"}",
        )
        .await
            == 1
    })
    .await;
    stream.write_all(b"this is no chunk\r\n").await.unwrap();
    let answer = gateway::answer(stream).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.problem(), "bad-request");
}

/// Whether HAProxy says it in its own words: what never became a request gets no others.
fn is_plain(answer: &Answer) -> bool {
    answer.headers["content-type"] == "text/html"
}
