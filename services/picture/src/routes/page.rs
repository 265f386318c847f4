//! `GET /`.

use askama::Template;
use axum::extract::State as Shared;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, header};
use service_kit::{About, Problem};

use crate::State;

/// Nothing but this page's own picture and style.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; img-src 'self'; style-src 'unsafe-inline'");

/// The page: greeting, picture, build information.
#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    greeting: &'a str,
    about: &'a About,
}

/// The page: greeting, picture, build information.
#[utoipa::path(
    get, path = "/",
    responses((status = OK, body = String, content_type = "text/html"))
)]
pub(crate) async fn show(Shared(state): Shared<State>) -> Result<Response, Problem> {
    let page = Page {
        greeting: &state.greeting,
        about: &state.about,
    };
    let html = page.render().map_err(|error| Problem::internal(&error))?;
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, Html(html)).into_response())
}
