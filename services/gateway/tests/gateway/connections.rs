//! How many connections it takes at once, and that its own probes are not among them.

use std::time::{Duration, Instant};

use gateway::{Gateway, Stub};
use tokio::net::TcpStream;

use crate::{metric, start, until};

/// What Kubernetes gives the liveness probe; a silent connection is kept for twice as long.
const PROBE_LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn probes_are_answered_while_every_connection_is_taken() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[
        ("PICTURE_ADDRESS", &picture.address()),
        ("MAX_CONNECTIONS", "10"),
    ]);
    let client = gateway.client();
    let mut silent: Vec<TcpStream> = Vec::new();
    // Those that wait follow those whose time is over.
    for _ in 0..18 {
        silent.push(client.connect().await.unwrap());
    }
    until(async || sessions(&gateway).await == 10).await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        let started = Instant::now();
        assert_eq!(gateway.internal().get(path, &[]).await.status, 200);
        assert!(
            started.elapsed() < PROBE_LIMIT,
            "{path}: {:?}",
            started.elapsed()
        );
    }
    let waits = tokio::spawn(async move { client.get("/", &[]).await });
    assert_eq!(sessions(&gateway).await, 10, "no more than that");
    drop(silent);
    assert_eq!(waits.await.unwrap().status, 200, "once there is room");
}

#[tokio::test]
async fn the_world_gets_its_connections_however_many_the_cluster_holds() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[
        ("PICTURE_ADDRESS", &picture.address()),
        ("MAX_CONNECTIONS", "10"),
    ]);
    let mut silent: Vec<TcpStream> = Vec::new();
    for _ in 0..150 {
        silent.push(gateway.internal().connect().await.unwrap());
    }
    let started = Instant::now();
    assert_eq!(gateway.client().get("/", &[]).await.status, 200);
    assert!(started.elapsed() < PROBE_LIMIT, "{:?}", started.elapsed());
}

/// How many connections the public port has.
async fn sessions(gateway: &Gateway) -> u32 {
    metric(
        gateway,
        "haproxy_frontend_current_sessions{proxy=\"public\"}",
    )
    .await
}
