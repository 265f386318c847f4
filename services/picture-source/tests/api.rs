//! The HTTP interface.
#![allow(clippy::unwrap_used)]

use picture_source::{Config, start};
use serde_json::Value;
use service_kit::testing::{call, request};
use service_kit::{Kit, Settings, about};

#[tokio::test]
async fn each_request_gets_another_picture() {
    let mut kit = Kit::new(about!(), Settings::default());
    let routes = start(Config, &mut kit).await.unwrap();
    let app = kit.app(routes);
    let first = call(&app, request("GET", "/", &Value::Null)).await;
    assert_eq!(first.headers["content-type"], "image/png");
    assert_eq!(first.headers["cache-control"], "no-store");
    assert!(first.body.starts_with(b"\x89PNG"));
    let second = call(&app, request("GET", "/", &Value::Null)).await;
    assert_ne!(first.body, second.body);
    let metrics = call(&app, request("GET", "/metrics", &Value::Null)).await;
    for line in [
        "picture_source_drawn_total 2\n",
        "picture_source_drawing_seconds_count 2\n",
    ] {
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }
    let ready = call(&app, request("GET", "/readyz", &Value::Null)).await;
    assert_eq!(ready.status, 200);
}
