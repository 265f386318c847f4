//! That the check of contracts finds what breaks one.

use axum::Json;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use serde_json::{Value, json};
use service_kit::testing::contract;
use service_kit::{JsonBody, Kit, PathParams, Problem, Reader, StartError, Unusable, about};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A number.
#[derive(serde::Deserialize, serde::Serialize, utoipa::ToSchema)]
struct Number {
    number: i64,
}

/// Doubles.
#[utoipa::path(
    post, path = "/double", request_body = Number,
    responses(
        (status = OK, body = Number),
        (status = UNPROCESSABLE_ENTITY, description = "`too-large`")
    )
)]
async fn good(JsonBody(Number { number }): JsonBody<Number>) -> Result<Json<Number>, Problem> {
    let doubled = number.checked_mul(2).map(|number| Json(Number { number }));
    doubled.ok_or_else(|| Problem::unprocessable("too-large", "more than 64 bits"))
}

/// Doubles, but for -1.
#[utoipa::path(
    post, path = "/double", request_body = Number,
    responses((status = OK, body = Number))
)]
async fn panics(JsonBody(Number { number }): JsonBody<Number>) -> Json<Number> {
    assert_ne!(number, -1, "cannot double it");
    Json(Number {
        number: number.wrapping_mul(2),
    })
}

/// Refuses with a code that it does not document.
#[utoipa::path(
    get, path = "/names/{name}", params(("name" = String, Path)),
    responses((status = OK, body = String), (status = BAD_REQUEST, description = "`too-long`"))
)]
async fn another_code(PathParams(name): PathParams<String>) -> Result<String, Problem> {
    match name.contains('\0') {
        true => Err(Problem::bad_request("nul", "there is a NUL in it")),
        false => Ok("fine".to_owned()),
    }
}

/// Refuses in plain text.
#[utoipa::path(
    get, path = "/names/{name}", params(("name" = String, Path)),
    responses((status = OK, body = String), (status = BAD_REQUEST, description = "`too-long`"))
)]
async fn plain_text(PathParams(name): PathParams<String>) -> Response {
    match name.len() {
        0..50 => "fine".into_response(),
        _ => (StatusCode::BAD_REQUEST, "too long").into_response(),
    }
}

/// Answers another shape.
#[utoipa::path(get, path = "/number", responses((status = OK, body = Number)))]
async fn another_shape() -> Json<Value> {
    Json(json!({"number": "seven"}))
}

fn configure(_: &mut Reader<'_>) -> Result<(), Unusable> {
    Ok(())
}

async fn check(routes: OpenApiRouter) {
    let start = async |(), _: &mut Kit| -> Result<OpenApiRouter, StartError> { Ok(routes) };
    contract(about!(), &[], configure, start).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_keeps_it_passes() {
    check(OpenApiRouter::new().routes(routes!(good))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "the service failed")]
async fn a_panic_is_found() {
    check(OpenApiRouter::new().routes(routes!(panics))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "\"nul\" is not")]
async fn a_code_that_is_not_documented_is_found() {
    check(OpenApiRouter::new().routes(routes!(another_code))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "does not document `text/plain` for 400")]
async fn an_error_that_is_no_problem_is_found() {
    check(OpenApiRouter::new().routes(routes!(plain_text))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "\"seven\" is not of type \"integer\" at `/number`")]
async fn an_answer_of_another_shape_is_found() {
    check(OpenApiRouter::new().routes(routes!(another_shape))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "routes, and what is documented")]
async fn a_route_that_is_not_documented_is_found() {
    check(OpenApiRouter::new().route("/hidden", get(|| async {}))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "allowed are")]
async fn a_method_that_is_not_documented_is_found() {
    let routes = OpenApiRouter::new().routes(routes!(good));
    check(routes.route("/double", get(|| async {}))).await;
}
