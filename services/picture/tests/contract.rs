//! What `/openapi.json` promises is what is answered, whatever is sent.
#![allow(clippy::unwrap_used)]

use axum::Router;
use axum::routing::get;
use picture::{configure, start};
use service_kit::about;
use service_kit::testing::contract;
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_its_contract() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let backend = Router::new().route("/", get(|| async { b"GIF89a and more".to_vec() }));
    tokio::spawn(async move { axum::serve(listener, backend).await });
    contract(about!(), &[("BACKEND_URL", &url)], configure, start).await;
}
