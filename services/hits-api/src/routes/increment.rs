//! `/increment` and `/increment/{key}`.

use axum::Json;
use axum::extract::State as Shared;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use service_kit::redis::CommandError;
use service_kit::{JsonBody, PathParams, Problem, chain, postgres};
use uuid::Uuid;

use crate::State;
use crate::stream::Increment;

/// What a `POST` sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    key: Uuid,
    value: i64,
}

/// What a `POST` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Accepted {
    /// The name of this increment, as it stands in logs and dead letters.
    event: Uuid,
}

/// What a `GET` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Sum {
    key: Uuid,
    value: u128,
}

/// `POST /increment`: 200 once the increment is on the stream.
pub(crate) async fn write(
    Shared(state): Shared<State>,
    JsonBody(request): JsonBody<Request>,
) -> Result<Json<Accepted>, Problem> {
    if request.value < 1 {
        return Err(Problem::unprocessable(
            "value-below-one",
            "value is at least 1",
        ));
    }
    let event = Uuid::now_v7();
    let increment = Increment {
        event,
        key: request.key,
        value: request.value,
    };
    let appended = state.stream.append(&increment).await;
    appended.map_err(|error| append_problem(&error))?;
    Ok(Json(Accepted { event }))
}

/// `GET /increment/{key}`: the sum, as old as the worker's last write.
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

fn append_problem(error: &CommandError) -> Problem {
    tracing::warn!(error = chain(error), "an increment was not taken");
    match error {
        // Without Retry-After: a repeat might count twice.
        CommandError::Interrupted(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "outcome-unknown",
            "the stream did not answer: the increment may or may not be counted",
        ),
        CommandError::Refused(_) | CommandError::Unreachable(_) | CommandError::Busy => {
            Problem::unavailable(
                "stream-unavailable",
                "the stream takes no increments just now; nothing will be counted",
            )
        }
    }
}
