//! Extractors of axum whose refusals are [`Problem`]s.

use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::problem::Problem;

/// A JSON body. 415 without its content type, 400 when it is not JSON, 422
/// when it is JSON of another shape, 413 when it is too long, 408 when it takes
/// more than half of the time for a request to arrive.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

/// The parameters of the path, 400 when they do not fit.
#[derive(Clone, Copy, Debug)]
pub struct PathParams<T>(pub T);

/// The parameters of the query string, 400 when they do not fit.
#[derive(Clone, Copy, Debug)]
pub struct QueryParams<T>(pub T);

/// How long the body of a request may take to arrive; in the extensions of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArrivalLimit(pub(crate) Duration);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let ArrivalLimit(limit) = request.extensions().get().copied().unwrap_or_default();
        match timeout(limit, axum::Json::from_request(request, state)).await {
            Ok(Ok(axum::Json(value))) => Ok(Self(value)),
            Ok(Err(rejection)) => Err(json_problem(&rejection)),
            Err(_) => Err(too_slow(limit)),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(path_problem(&rejection)),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(query_problem(&rejection)),
        }
    }
}

impl Default for ArrivalLimit {
    /// For requests that no kit has seen.
    fn default() -> Self {
        Self(Duration::from_secs(5))
    }
}

fn too_slow(limit: Duration) -> Problem {
    let detail = format!("no whole body within {} s", limit.as_secs_f64());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail)
}

fn json_problem(rejection: &JsonRejection) -> Problem {
    let code = match rejection.status() {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "not-json-content-type",
        StatusCode::PAYLOAD_TOO_LARGE => "body-too-large",
        StatusCode::UNPROCESSABLE_ENTITY => "unexpected-json",
        _ => "invalid-json",
    };
    Problem::new(rejection.status(), code, rejection.body_text())
}

fn path_problem(rejection: &PathRejection) -> Problem {
    Problem::new(rejection.status(), "invalid-path", rejection.body_text())
}

fn query_problem(rejection: &QueryRejection) -> Problem {
    Problem::new(rejection.status(), "invalid-query", rejection.body_text())
}
