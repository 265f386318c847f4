//! Which service gets which path, and what is nobody's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gateway::Stub;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{start, until};

#[tokio::test]
async fn every_path_reaches_its_service_and_no_other() {
    let mut stubs = Vec::new();
    for name in ["picture", "upload", "counter", "birthday", "hits-api"] {
        stubs.push(Stub::start(name).await);
    }
    let addresses: Vec<String> = stubs.iter().map(Stub::address).collect();
    let gateway = start!(&[
        ("PICTURE_ADDRESS", &addresses[0]),
        ("UPLOAD_ADDRESS", &addresses[1]),
        ("COUNTER_ADDRESS", &addresses[2]),
        ("BIRTHDAY_ADDRESS", &addresses[3]),
        ("HITS_API_ADDRESS", &addresses[4]),
    ]);
    for (path, service) in [
        ("/", "picture"),
        ("/?a=b", "picture"),
        ("/picture", "picture"),
        ("/upload", "upload"),
        ("/jobs", "upload"),
        ("/jobs/7", "upload"),
        ("/images/7/original", "upload"),
        ("/counters", "counter"),
        ("/counters/a?by=2", "counter"),
        ("/hello/Ada", "birthday"),
        ("/increment", "hits-api"),
        ("/increment/7", "hits-api"),
    ] {
        let answer = gateway.client().get(path, &[]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.json()["service"], service, "{path}");
        assert_eq!(answer.json()["path"], path);
    }
    for path in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/version",
        "/openapi.json",
        "/nope",
        "/pictures",
        "/uploads",
        "/countersx",
        "/hello",
        "//",
        "/PICTURE",
        "/picture/",
    ] {
        let answer = gateway.client().get(path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.problem(), "not-found", "{path}");
    }
}

#[tokio::test]
async fn no_spelling_leads_to_what_is_internal() {
    let stub = Stub::start("any").await;
    let address = stub.address();
    let names = ["PICTURE", "UPLOAD", "COUNTER", "BIRTHDAY", "HITS_API"];
    let names = names.map(|name| format!("{name}_ADDRESS"));
    let variables = names
        .each_ref()
        .map(|name| (name.as_str(), address.as_str()));
    let gateway = start!(&variables);
    for path in [
        "http://gateway/metrics",
        "/%6detrics",
        "/./metrics",
        "/../metrics",
        "//metrics",
        "/;/metrics",
        "/metrics?/counters/",
        "/metrics#/counters/",
        "/counters%2f..%2fmetrics",
        "/Counters/..",
    ] {
        let answer = gateway.client().get(path, &[]).await;
        assert!(
            [400, 404].contains(&answer.status.as_u16()),
            "{path}: {}",
            answer.status
        );
    }
    // What has the right beginning is passed on as it is: no service takes dots for folders.
    let answer = gateway.client().get("/counters/../metrics", &[]).await;
    assert_eq!(answer.json()["path"], "/counters/../metrics");
}

#[tokio::test]
async fn a_service_that_is_away_is_said_to_be_and_the_others_answer() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[("PICTURE_ADDRESS", &picture.address())]);
    let answer = gateway.client().get("/counters/a", &[]).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.problem(), "service-unavailable");
    assert_eq!(answer.headers["retry-after"], "2");
    assert_eq!(gateway.client().get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn the_paths_of_a_service_that_the_environment_is_without_are_nobodys() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[
        ("PICTURE_ADDRESS", &picture.address()),
        ("UPLOAD_ADDRESS", ""),
        ("COUNTER_ADDRESS", ""),
        ("BIRTHDAY_ADDRESS", ""),
        ("HITS_API_ADDRESS", ""),
    ]);
    for path in [
        "/upload",
        "/jobs",
        "/images/7/original",
        "/counters",
        "/hello/Ada",
        "/increment",
    ] {
        let answer = gateway.client().get(path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.problem(), "not-found", "{path}");
    }
    assert_eq!(gateway.client().get("/", &[]).await.status, 200);
    let ready = internal_json(&gateway, "/readyz").await;
    assert_eq!(
        ready,
        json!({ "status": "ready", "services": { "picture": 1 } })
    );
    // An alert looks at every service that is named there.
    let metrics = gateway.internal().get("/metrics", &[]).await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(text.contains("haproxy_backend_status{proxy=\"picture\""));
    assert!(!text.contains("proxy=\"upload\""), "{text}");
}

#[tokio::test]
async fn without_any_service_it_is_ready_all_the_same() {
    let gateway = start!(&[
        ("PICTURE_ADDRESS", ""),
        ("UPLOAD_ADDRESS", ""),
        ("COUNTER_ADDRESS", ""),
        ("BIRTHDAY_ADDRESS", ""),
        ("HITS_API_ADDRESS", ""),
    ]);
    let ready = internal_json(&gateway, "/readyz").await;
    assert_eq!(ready, json!({ "status": "ready", "services": {} }));
    assert_eq!(gateway.client().get("/", &[]).await.status, 404);
}

#[tokio::test]
async fn a_service_that_comes_back_is_asked_again() {
    let first = Stub::start("counter").await;
    let address = first.address();
    let gateway = start!(&[("COUNTER_ADDRESS", &address)]);
    assert_eq!(gateway.client().get("/counters", &[]).await.status, 200);
    drop(first);
    until(async || gateway.client().get("/counters", &[]).await.status == 503).await;
    // It is known to be down now, so that nobody waits for it.
    until(async || internal_json(&gateway, "/readyz").await["services"]["counter"] == 0).await;
    let _second = Stub::start_at("counter", &address).await;
    until(async || gateway.client().get("/counters", &[]).await.status == 200).await;
}

#[tokio::test]
async fn a_service_that_does_not_answer_in_time_is_not_waited_for() {
    let birthday = Stub::start("birthday").await;
    let gateway = start!(&[
        ("BIRTHDAY_ADDRESS", &birthday.address()),
        ("REQUEST_SECONDS", "1"),
    ]);
    let started = Instant::now();
    let answer = gateway.client().get("/hello/slow", &[]).await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.problem(), "service-timed-out");
    assert!(started.elapsed() < Duration::from_millis(2500));
}

#[tokio::test]
async fn a_service_that_breaks_off_is_not_asked_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let got = stream.read(&mut head).await.unwrap_or(0);
            if head[..got].starts_with(b"POST") {
                count.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            // A health check.
            let healthy = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(healthy).await;
        }
    });
    let gateway = start!(&[("HITS_API_ADDRESS", &address)]);
    let request = gateway::request("POST", "/increment", &[], "{}");
    let answer = gateway.client().send(&request).await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.problem(), "no-answer");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn probes_and_metrics_are_on_a_port_of_their_own() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[("PICTURE_ADDRESS", &picture.address())]);
    let healthy = gateway.internal().get("/healthz", &[]).await;
    assert_eq!(
        (healthy.status.as_u16(), healthy.text()),
        (200, r#"{"status":"ok"}"#)
    );
    until(async || internal_json(&gateway, "/readyz").await["services"]["counter"] == 0).await;
    let ready = internal_json(&gateway, "/readyz").await;
    assert_eq!(ready["status"], "ready");
    assert_eq!(ready["services"]["picture"], 1);
    let version = internal_json(&gateway, "/version").await;
    assert_eq!(version["name"], "gateway");
    assert!(
        version["version"]
            .as_str()
            .unwrap()
            .starts_with(|digit: char| digit.is_ascii_digit())
    );

    gateway.client().get("/", &[]).await;
    let metrics = gateway.internal().get("/metrics", &[]).await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in [
        "haproxy_backend_http_responses_total{proxy=\"picture\",code=\"2xx\"} 1",
        "haproxy_backend_status{proxy=\"counter\",state=\"DOWN\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    let other = gateway.internal().get("/counters", &[]).await;
    assert_eq!(other.problem(), "not-found");
}

async fn internal_json(gateway: &gateway::Gateway, path: &str) -> serde_json::Value {
    gateway.internal().get(path, &[]).await.json()
}
