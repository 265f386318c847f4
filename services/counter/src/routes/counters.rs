//! `/counters` and `/counters/{name}`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use service_kit::{PathParams, Problem, QueryParams, chain};
use utoipa::{IntoParams, ToSchema};

use crate::metrics::Metrics;
use crate::name::{CounterName, NameError};
use crate::store::{Page, Store, StoreError};

const PAGE: usize = 1000;
const LONGEST_PAGE: usize = 10_000;

/// What the routes work with.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) metrics: Metrics,
}

/// `?by=N`, which may be negative and is 1 where it is not given.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Increment {
    /// How much is added; 1 where it is missing.
    by: Option<i64>,
}

/// Which part of the counters.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    /// Only counters whose names come after this one: the `next` of the page before.
    after: Option<String>,
    /// How many at most, 1 to 10000; 1000 where it is missing.
    limit: Option<usize>,
}

/// A counter and its value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Counter {
    name: String,
    value: i64,
}

/// Counters by name, in the order of bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Counters {
    counters: Vec<Counter>,
    /// For the `after` of the next page; missing on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
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
    State(App { store, metrics }): State<App>,
    PathParams(name): PathParams<String>,
    QueryParams(increment): QueryParams<Increment>,
) -> Result<Json<Counter>, Problem> {
    let name = parse(&name)?;
    let by = increment.by.unwrap_or(1);
    let end = store.add(&name, by).await;
    metrics.ended(&end);
    let value = end.map_err(|error| increment_problem(&error))?;
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
    State(App { store, .. }): State<App>,
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

/// The counters, by name, a page at a time.
#[utoipa::path(
    get, path = "/counters",
    params(Range),
    responses(
        (status = OK, body = Counters),
        (status = BAD_REQUEST, description = "`invalid-query`"),
        (status = SERVICE_UNAVAILABLE, description = "`store-unavailable`")
    )
)]
pub(crate) async fn list(
    State(App { store, .. }): State<App>,
    QueryParams(Range { after, limit }): QueryParams<Range>,
) -> Result<Json<Counters>, Problem> {
    let limit = limit.unwrap_or(PAGE);
    if !(1..=LONGEST_PAGE).contains(&limit) {
        let range = format!("limit is a number from 1 to {LONGEST_PAGE}");
        return Err(Problem::bad_request("invalid-query", range));
    }
    // One more tells whether there is another page.
    let page = Page {
        after,
        limit: limit + 1,
    };
    let mut found = store.list(page).await.map_err(|error| repeatable(&error))?;
    if found.len() > limit {
        found.pop_last();
    } else {
        return Ok(Json(Counters::new(found, None)));
    }
    let next = found.last_key_value().map(|(name, _)| name.clone());
    Ok(Json(Counters::new(found, next)))
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
    State(App { store, .. }): State<App>,
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

impl Counters {
    fn new(found: BTreeMap<String, i64>, next: Option<String>) -> Self {
        let counters = found
            .into_iter()
            .map(|(name, value)| Counter { name, value });
        Self {
            counters: counters.collect(),
            next,
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
