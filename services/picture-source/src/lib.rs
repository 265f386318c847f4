//! `GET /` draws a picture, another one each time: the backend of `picture` where there is no internet.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod drawing;
mod studio;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use service_kit::{Kit, Problem, Reader, StartError, Unusable};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::studio::Studio;

/// There is nothing to configure but what every service has.
#[derive(Clone, Copy, Debug)]
pub struct Config;

/// Reads the configuration.
///
/// # Errors
/// None today; the shape is that of every service.
pub fn configure(_: &mut Reader<'_>) -> Result<Config, Unusable> {
    Ok(Config)
}

/// Starts the service.
///
/// # Errors
/// None today; the shape is that of every service.
pub async fn start(_: Config, kit: &mut Kit) -> Result<OpenApiRouter, StartError> {
    let studio = Studio::new();
    kit.register_metrics(|registry| studio.register(registry));
    Ok(OpenApiRouter::new()
        .routes(routes!(picture))
        .with_state(studio))
}

/// A picture that nobody has seen before.
#[utoipa::path(
    get, path = "/",
    responses((status = OK, content_type = "image/png", body = Vec<u8>))
)]
async fn picture(State(studio): State<Studio>) -> Result<Response, Problem> {
    let (seed, _) = Uuid::new_v4().as_u64_pair();
    let drawn = studio.draw(move || drawing::draw(seed)).await;
    let drawn = drawn.map_err(|panic| Problem::internal(&panic))?;
    let png = drawn.map_err(|error| Problem::internal(&error))?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/png")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, png).into_response())
}
