//! `/counters` and `/counters/{name}`.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use service_kit::redis::CommandError;
use service_kit::{PathParams, Problem, QueryParams, chain};

use crate::name::{CounterName, NameError};
use crate::store::Store;

/// `?by=N`, which may be negative and is 1 where it is not given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Increment {
    by: Option<i64>,
}

/// A counter and its value.
#[derive(Debug, Serialize)]
pub(crate) struct Counter {
    name: String,
    value: i64,
}

/// All counters, by name.
#[derive(Debug, Serialize)]
pub(crate) struct Counters {
    counters: Vec<Counter>,
}

/// `POST /counters/{name}`: counts, and answers the new value.
pub(crate) async fn increment(
    State(store): State<Store>,
    PathParams(name): PathParams<String>,
    QueryParams(increment): QueryParams<Increment>,
) -> Result<Json<Counter>, Problem> {
    let name = parse(&name)?;
    let by = increment.by.unwrap_or(1);
    let value = store
        .add(&name, by)
        .await
        .map_err(|error| write_problem(&error))?;
    Ok(Json(Counter::new(&name, value)))
}

/// `GET /counters/{name}`: 404 for one that was never counted.
pub(crate) async fn read(
    State(store): State<Store>,
    PathParams(name): PathParams<String>,
) -> Result<Json<Counter>, Problem> {
    let name = parse(&name)?;
    let value = store
        .get(&name)
        .await
        .map_err(|error| read_problem(&error))?;
    match value {
        Some(value) => Ok(Json(Counter::new(&name, value))),
        None => Err(Problem::not_found(format!(
            "there is no counter `{}`",
            name.as_str()
        ))),
    }
}

/// `GET /counters`.
pub(crate) async fn list(State(store): State<Store>) -> Result<Json<Counters>, Problem> {
    let all = store.list().await.map_err(|error| read_problem(&error))?;
    let counters = all.into_iter().map(|(name, value)| Counter { name, value });
    Ok(Json(Counters {
        counters: counters.collect(),
    }))
}

/// `DELETE /counters/{name}`: 204, also where there was none, so that a client
/// may repeat it.
pub(crate) async fn delete(
    State(store): State<Store>,
    PathParams(name): PathParams<String>,
) -> Result<StatusCode, Problem> {
    let name = parse(&name)?;
    store
        .delete(&name)
        .await
        .map_err(|error| read_problem(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

impl Counter {
    fn new(name: &CounterName, value: i64) -> Self {
        Self {
            name: name.as_str().to_owned(),
            value,
        }
    }
}

fn parse(text: &str) -> Result<CounterName, Problem> {
    text.parse()
        .map_err(|error: NameError| Problem::bad_request("invalid-name", error.to_string()))
}

/// For what may be repeated: that it did not work is all there is to say.
fn read_problem(error: &CommandError) -> Problem {
    tracing::warn!(error = chain(error), "Redis failed");
    Problem::unavailable("store-unavailable", "the store does not answer just now")
}

/// For an increment, which must not be repeated blindly.
fn write_problem(error: &CommandError) -> Problem {
    tracing::warn!(error = chain(error), "an increment failed");
    match error {
        // Without Retry-After: repeating it is for someone to decide who can look.
        CommandError::Interrupted(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "outcome-unknown",
            "the store did not answer: the increment may or may not have been counted",
        ),
        CommandError::Refused(cause) if overflows(cause) => Problem::unprocessable(
            "overflow",
            "the counter would leave the range of a 64-bit integer; it was not changed",
        ),
        CommandError::Refused(_) | CommandError::Unreachable(_) | CommandError::Busy => {
            Problem::unavailable(
                "store-unavailable",
                "the store does not take increments just now; nothing was counted",
            )
        }
    }
}

/// Redis has no error code for it, only this text.
fn overflows(error: &redis::RedisError) -> bool {
    error
        .detail()
        .is_some_and(|detail| detail.contains("would overflow"))
}
