//! Counts visits by name, in a file that outlives the pod.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

struct Counter {
    file: PathBuf,
    authorization: String,
    visits: Mutex<BTreeMap<String, u64>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(env::var("DATA_DIR").map_err(|_| "DATA_DIR is not set")?);
    let token = env::var("VISITS_TOKEN").map_err(|_| "VISITS_TOKEN is not set")?;
    let file = folder.join("visits.json");
    let visits = match tokio::fs::read(&file).await {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(error.into()),
    };
    let counter = Counter { file, authorization: format!("Bearer {token}"), visits: Mutex::new(visits) };
    let app = Router::new()
        .route("/visits/{name}", post(count))
        .route("/healthz", get(async || "ok"))
        .with_state(Arc::new(counter));
    let port: u16 = env::var("PORT").map_or(Ok(8080), |port| port.parse())?;
    let mut stop = signal(SignalKind::terminate())?;
    axum::serve(TcpListener::bind(("0.0.0.0", port)).await?, app)
        .with_graceful_shutdown(async move {
            stop.recv().await;
        })
        .await?;
    Ok(())
}

async fn count(
    State(counter): State<Arc<Counter>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, (StatusCode, String)> {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    if given != Some(counter.authorization.as_bytes()) {
        return Err((StatusCode::UNAUTHORIZED, "who are you?".to_owned()));
    }
    let mut visits = counter.visits.lock().await;
    let count = visits.entry(name).or_default();
    *count += 1;
    let count = *count;
    save(&counter.file, &visits)
        .await
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Json(json!({ "visits": count })))
}

/// A reader, and a restart, see the old file or the new one, never half of it.
async fn save(file: &PathBuf, visits: &BTreeMap<String, u64>) -> std::io::Result<()> {
    let new = file.with_extension("new");
    tokio::fs::write(&new, serde_json::to_vec(visits)?).await?;
    tokio::fs::rename(new, file).await
}
