//! Greets people and says how often each of them was here.

use std::env;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Clone)]
struct Greeter {
    greeting: String,
    visits_url: String,
    token: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Visits {
    visits: u64,
}

#[derive(Serialize)]
struct Greeting {
    message: String,
    visits: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let greeter = Greeter {
        greeting: env::var("GREETING").unwrap_or_else(|_| "Hello".to_owned()),
        visits_url: env::var("VISITS_URL").map_err(|_| "VISITS_URL is not set")?,
        token: env::var("VISITS_TOKEN").map_err(|_| "VISITS_TOKEN is not set")?,
        http: reqwest::Client::new(),
    };
    let app = Router::new()
        .route("/hello/{name}", get(hello))
        .route("/healthz", get(async || "ok"))
        .with_state(greeter);
    let port: u16 = env::var("PORT").map_or(Ok(8080), |port| port.parse())?;
    let mut stop = signal(SignalKind::terminate())?;
    axum::serve(TcpListener::bind(("0.0.0.0", port)).await?, app)
        .with_graceful_shutdown(async move {
            stop.recv().await;
        })
        .await?;
    Ok(())
}

async fn hello(
    State(greeter): State<Greeter>,
    Path(name): Path<String>,
) -> Result<Json<Greeting>, (StatusCode, String)> {
    let Visits { visits } = count(&greeter, &name)
        .await
        .map_err(|error| (StatusCode::BAD_GATEWAY, format!("visits does not answer: {error}")))?;
    Ok(Json(Greeting { message: format!("{}, {name}!", greeter.greeting), visits }))
}

async fn count(greeter: &Greeter, name: &str) -> reqwest::Result<Visits> {
    let url = format!("{}/visits/{name}", greeter.visits_url);
    greeter.http.post(url).bearer_auth(&greeter.token).send().await?.error_for_status()?.json().await
}
