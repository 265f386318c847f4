//! `GET /images/{id}/{variant}`.

use axum::body::Body;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use http::{HeaderValue, header};
use service_kit::{PathParams, Problem, chain};
use tracing::Span;
use uuid::Uuid;

use crate::State;
use crate::inspect::content_type;
use crate::routes::refused::store_problem;
use crate::variant::Variant;

/// What is stored under an id never changes.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// An image in one of its sizes.
#[utoipa::path(
    get, path = "/images/{id}/{variant}", tag = "images",
    params(
        ("id" = Uuid, Path, description = "as its upload was answered"),
        ("variant" = inline(Variant), Path, description = "its size")
    ),
    responses(
        (
            status = OK, description = "PNG, JPEG, GIF or WebP; it never changes",
            content_type = "image/*", body = Vec<u8>
        ),
        (status = NOT_FOUND, description = "`not-found`: its job says why"),
        (
            status = SERVICE_UNAVAILABLE, description = "`store-unavailable`",
            headers(("Retry-After" = u64, description = "seconds"))
        ),
    )
)]
pub(crate) async fn read(
    Shared(state): Shared<State>,
    PathParams((id, variant)): PathParams<(Uuid, String)>,
) -> Result<Response, Problem> {
    let variant: Variant = variant.parse().map_err(|()| {
        Problem::not_found("the sizes of an image are original, medium and thumbnail")
    })?;
    let image = state.store.get_image(id, variant).await;
    let Some(image) = image.map_err(|error| store_problem(&error))? else {
        let detail = format!("there is no {} of {id}; its job says why", variant.name());
        return Err(Problem::not_found(detail));
    };
    let kind = image::guess_format(&image.start)
        .ok()
        .and_then(content_type);
    let kind = HeaderValue::from_static(kind.unwrap_or("application/octet-stream"));
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_LENGTH, HeaderValue::from(image.size)),
        (header::CACHE_CONTROL, CACHE),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    // It is read after this span has been left.
    let span = Span::current();
    let parts = image.into_stream().inspect_err(move |error| {
        let _entered = span.enter();
        tracing::error!(error = chain(error), "an image breaks off");
    });
    Ok((headers, Body::from_stream(parts)).into_response())
}
