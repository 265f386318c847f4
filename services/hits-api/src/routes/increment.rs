//! `/increment` and `/increment/{key}`.

use std::time::Duration;

use axum::extract::State as Shared;
use axum::{Extension, Json};
use hits::Increment;
use hits::stream::AppendError;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use service_kit::{JsonBody, PathParams, Problem, RequestId, chain, postgres};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, Type};
use uuid::Uuid;

use crate::State;

/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// A backlog is not worked off in a second.
const BACKLOG_PAUSE: Duration = Duration::from_secs(10);

/// What a `POST` sends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Increment)]
pub(crate) struct Request {
    /// What is counted.
    key: Uuid,
    /// How much is added.
    #[schema(minimum = 1, example = 1)]
    value: i64,
}

/// What a `POST` answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The name of this increment, as it stands in logs and dead letters.
    event: Uuid,
}

/// What a `GET` answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sum {
    key: Uuid,
    /// A whole number of any size.
    #[schema(schema_with = whole_number)]
    value: u128,
}

/// Counts: 200 once the increment is on the stream. With an `Idempotency-Key`, a repetition counts once.
#[utoipa::path(
    post, path = "/increment",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = Request,
    responses(
        (status = OK, body = Accepted),
        (status = BAD_REQUEST, description = "`invalid-idempotency-key`"),
        (status = UNPROCESSABLE_ENTITY, description = "`value-below-one`"),
        (status = SERVICE_UNAVAILABLE, description = "`outcome-unknown`, `stream-unavailable`, `backlog-full`")
    )
)]
pub(crate) async fn write(
    Shared(state): Shared<State>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<Request>,
) -> Result<Json<Accepted>, Problem> {
    if request.value < 1 {
        return Err(Problem::unprocessable(
            "value-below-one",
            "value is at least 1",
        ));
    }
    let event = event(&headers, &request)?;
    let increment = Increment {
        event,
        key: request.key,
        value: request.value,
        request_id: Some(request_id.as_str().to_owned()),
    };
    let appended = state.stream.append(&increment).await;
    state.metrics.ended(&appended);
    appended.map_err(|error| append_problem(&error))?;
    Ok(Json(Accepted { event }))
}

/// The sum of a key, as old as the worker's last write; 404 before the first.
#[utoipa::path(
    get, path = "/increment/{key}",
    params(("key" = Uuid, Path)),
    responses(
        (status = OK, body = Sum),
        (status = NOT_FOUND, description = "`not-found`"),
        (status = SERVICE_UNAVAILABLE, description = "`database-unavailable`")
    )
)]
pub(crate) async fn read(
    Shared(state): Shared<State>,
    PathParams(key): PathParams<Uuid>,
) -> Result<Json<Sum>, Problem> {
    let sum = state.sums.get(key).await;
    match sum.map_err(|error| postgres::unavailable(&error))? {
        Some(value) => Ok(Json(Sum { key, value })),
        None => Err(Problem::not_found(format!(
            "nothing has been summed up for {key} yet"
        ))),
    }
}

/// Without a format, which would bound it.
fn whole_number() -> Object {
    Object::builder()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .build()
}

/// The name of an increment: by it the worker knows one that it had before. Derived from the client's key, so that a
/// repetition has the same; for another counter the same key is another increment.
fn event(headers: &HeaderMap, request: &Request) -> Result<Uuid, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(Uuid::now_v7());
    };
    let key = key.as_bytes();
    if !(1..=255).contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
        return Err(Problem::bad_request(
            "invalid-idempotency-key",
            "an Idempotency-Key has 1 to 255 visible ASCII characters",
        ));
    }
    Ok(Uuid::new_v5(&request.key, key))
}

fn append_problem(error: &AppendError) -> Problem {
    tracing::warn!(error = chain(error), "an increment was not taken");
    match error {
        // Without Retry-After: a repeat might count twice.
        AppendError::OutcomeUnknown(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "outcome-unknown",
            "the stream did not answer: the increment may or may not be counted",
        ),
        AppendError::Full(_) => Problem::unavailable(
            "backlog-full",
            "too many increments wait to be summed up; this one will not be counted",
        )
        .retry_after(BACKLOG_PAUSE),
        AppendError::NotAppended(_) => Problem::unavailable(
            "stream-unavailable",
            "the stream takes no increments just now; nothing will be counted",
        ),
    }
}
