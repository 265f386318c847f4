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
    // One pixel, without colours of its own.
    const GIF: &[u8] = b"GIF89a\x01\0\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;";
    let backend = Router::new().route("/", get(|| async { GIF }));
    tokio::spawn(async move { axum::serve(listener, backend).await });
    contract(about!(), &[("BACKEND_URL", &url)], configure, start).await;
}
