//! Extractors of axum whose refusals are [`Problem`]s.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A JSON body. 415 without its content type, 400 when it is not JSON, 422
/// when it is JSON of another shape, 413 when it is too long.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

/// The parameters of the path, 400 when they do not fit.
#[derive(Clone, Copy, Debug)]
pub struct PathParams<T>(pub T);

/// The parameters of the query string, 400 when they do not fit.
#[derive(Clone, Copy, Debug)]
pub struct QueryParams<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(json_problem(&rejection)),
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
