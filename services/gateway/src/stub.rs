//! Services behind the gateway that say who they are and what reached them.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A service on a port of its own; it ends with its value.
///
/// Everything is answered with `service`, `method`, `path` and `headers` in JSON once all of it is there, a path that ends
/// in `/slow` after three seconds.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Stub {
    /// Starts one.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start(name: &'static str) -> Self {
        Self::start_at(name, "127.0.0.1:0").await
    }

    /// Starts one at an address.
    ///
    /// # Panics
    /// When it is not free.
    pub async fn start_at(name: &'static str, address: &str) -> Self {
        let listener = TcpListener::bind(address).await;
        let listener = listener.expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        let app = Router::new()
            .route("/readyz", get(|| async { "ready" }))
            .fallback(move |request: Request| say(name, request));
        let task = tokio::spawn(async move {
            // It serves until it is dropped.
            let _ = axum::serve(listener, app).await;
        });
        Self { address, task }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn say(name: &'static str, request: Request) -> impl IntoResponse {
    let (request, body) = request.into_parts();
    // Who breaks off reads no answer.
    let _ = axum::body::to_bytes(body, usize::MAX).await;
    if request.uri.path().ends_with("/slow") {
        sleep(Duration::from_secs(3)).await;
    }
    let mut headers: Map<String, Value> = Map::new();
    for (header, value) in &request.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let list = headers
            .entry(header.as_str())
            .or_insert_with(|| json!([]))
            .as_array_mut();
        list.expect("only lists are put in").push(json!(value));
    }
    axum::Json(json!({
        "service": name,
        "method": request.method.as_str(),
        "path": request.uri.to_string(),
        "headers": headers,
    }))
}
