//! `/counters` and `/counters/{name}`.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use service_kit::{PathParams, Problem, QueryParams, chain};
use utoipa::{IntoParams, ToSchema};

use crate::name::{CounterName, NameError};
use crate::store::{Store, StoreError};

/// `?by=N`, which may be negative and is 1 where it is not given.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Increment {
    /// How much is added; 1 where it is missing.
    by: Option<i64>,
}

/// A counter and its value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Counter {
    name: String,
    value: i64,
}

/// All counters, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Counters {
    counters: Vec<Counter>,
}

/// Counts, and answers the new value.
#[utoipa::path(
    post, path = "/counters/{name}",
    params(
        ("name" = String, Path, description = "1 to 128 of A-Z a-z 0-9 . _ -", example = "visits"),
        Increment
    ),
    responses(
        (status = OK, body = Counter),
        (status = BAD_REQUEST, description = "`invalid-name`"),
        (status = UNPROCESSABLE_ENTITY, description = "`overflow`"),
        (status = SERVICE_UNAVAILABLE, description = "`outcome-unknown`, `store-unavailable`")
    )
)]
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
        .map_err(|error| increment_problem(&error))?;
    Ok(Json(Counter::new(&name, value)))
}

/// The value of a counter; 404 for one that was never counted.
#[utoipa::path(
    get, path = "/counters/{name}",
    params(("name" = String, Path, example = "visits")),
    responses(
        (status = OK, body = Counter),
        (status = BAD_REQUEST, description = "`invalid-name`"),
        (status = NOT_FOUND, description = "`not-found`"),
        (status = SERVICE_UNAVAILABLE, description = "`store-unavailable`")
    )
)]
pub(crate) async fn read(
    State(store): State<Store>,
    PathParams(name): PathParams<String>,
) -> Result<Json<Counter>, Problem> {
    let name = parse(&name)?;
    let value = store.get(&name).await.map_err(|error| repeatable(&error))?;
    match value {
        Some(value) => Ok(Json(Counter::new(&name, value))),
        None => Err(Problem::not_found(format!(
            "there is no counter `{}`",
            name.as_str()
        ))),
    }
}

/// All counters, by name.
#[utoipa::path(
    get, path = "/counters",
    responses(
        (status = OK, body = Counters),
        (status = SERVICE_UNAVAILABLE, description = "`store-unavailable`")
    )
)]
pub(crate) async fn list(State(store): State<Store>) -> Result<Json<Counters>, Problem> {
    let all = store.list().await.map_err(|error| repeatable(&error))?;
    let counters = all.into_iter().map(|(name, value)| Counter { name, value });
    Ok(Json(Counters {
        counters: counters.collect(),
    }))
}

/// Forgets a counter: 204, also where there was none, so that a client may repeat it.
#[utoipa::path(
    delete, path = "/counters/{name}",
    params(("name" = String, Path, example = "visits")),
    responses(
        (status = NO_CONTENT, description = "there is no such counter any more"),
        (status = BAD_REQUEST, description = "`invalid-name`"),
        (status = SERVICE_UNAVAILABLE, description = "`store-unavailable`")
    )
)]
pub(crate) async fn delete(
    State(store): State<Store>,
    PathParams(name): PathParams<String>,
) -> Result<StatusCode, Problem> {
    let name = parse(&name)?;
    store
        .delete(&name)
        .await
        .map_err(|error| repeatable(&error))?;
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
fn repeatable(error: &StoreError) -> Problem {
    tracing::warn!(error = chain(error), "the store failed");
    Problem::unavailable("store-unavailable", "the store does not answer just now")
}

/// For an increment, which must not be repeated blindly.
fn increment_problem(error: &StoreError) -> Problem {
    tracing::warn!(error = chain(error), "an increment failed");
    match error {
        // Without Retry-After: repeating it is for someone to decide who can look.
        StoreError::OutcomeUnknown(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "outcome-unknown",
            "the increment may or may not have been counted",
        ),
        StoreError::Overflow => Problem::unprocessable(
            "overflow",
            "the counter would leave the range of a 64-bit integer; it was not changed",
        ),
        StoreError::Unavailable(_) => Problem::unavailable(
            "store-unavailable",
            "the store does not take increments just now; nothing was counted",
        ),
    }
}
