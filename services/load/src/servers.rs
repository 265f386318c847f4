//! What the services are compared with, and what they work on.

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::get;
use serde_json::json;
use service_kit::testing::{PostgresServer, RedisServer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// Serves what no service can be faster than.
pub(crate) async fn bare() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "{}",
        json!({ "url": format!("http://{}", listener.local_addr()?) })
    );
    let app = Router::new()
        .route("/", get(|| async { "ok\n" }))
        // A proxy in front asks for it.
        .route("/readyz", get(|| async { "ok\n" }));
    axum::serve(listener, app)
        .with_graceful_shutdown(stdin_ends())
        .await?;
    Ok(())
}

/// Redis that is asked to sync each write, and PostgreSQL as it comes.
pub(crate) async fn stores() -> Result<()> {
    let redis = RedisServer::start().context("Redis is not here")?;
    let postgres = PostgresServer::durable().context("PostgreSQL is not here")?;
    println!(
        "{}",
        json!({ "redis": redis.url(), "postgres": postgres.url() })
    );
    stdin_ends().await;
    Ok(())
}

/// It does when who started this is gone.
async fn stdin_ends() {
    let mut rest = Vec::new();
    let _ = tokio::io::stdin().read_to_end(&mut rest).await;
}
