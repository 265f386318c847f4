//! `/openapi.json`: the OpenAPI document of a service, made from the routes themselves, so that the two cannot differ.
//!
//! A route names the codes of its own problems in backticks, by status: `(status = BAD_REQUEST, description =
//! "`invalid-user`")`. Those that the kit answers in its place are added here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{
    Components, Content, ContentBuilder, Info, OpenApi, Ref, RefOr, Response as Answer,
    ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::about::About;
use crate::problem;
use crate::requests;

/// The name of the answer that every operation may give.
const PROBLEM: &str = "Problem";

/// The document, which is known once all routes are.
pub(crate) type Text = Arc<OnceLock<String>>;

/// Codes of problems by status.
type Codes = BTreeMap<String, BTreeSet<String>>;

/// The document of `api`, completed by what is the same everywhere: who the service is, and how it fails.
pub(crate) fn document(mut api: OpenApi, about: &About) -> OpenApi {
    api.info = Info::new(about.name, about.version);
    api.info.description = Some(about.description.to_owned());
    let components = api.components.get_or_insert_with(Components::new);
    let schema = problem::Document::schema();
    components.schemas.insert(schema_name(), schema);
    let response = ResponseBuilder::new()
        .description("a problem (RFC 9457); `code` says which and does not change")
        .content(problem::CONTENT_TYPE, content(any_problem()))
        .build();
    components
        .responses
        .insert(PROBLEM.to_owned(), RefOr::T(response));
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(operation_id(method, path));
            complete(operation, path);
        }
    }
    api
}

/// The route that answers with the document.
pub(crate) fn routes(text: Text) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(openapi))
        .with_state(text)
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "health",
    responses((status = OK, body = Object, content_type = "application/json"))
)]
async fn openapi(State(text): State<Text>) -> Response {
    let text = text.get().cloned().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Adds the problems that an operation may answer.
fn complete(operation: &mut Operation, path: &str) {
    let common = common(operation, path);
    let answers = &mut operation.responses.responses;
    for (status, more) in &common {
        let new = || RefOr::T(Answer::default());
        let RefOr::T(answer) = answers.entry(status.clone()).or_insert_with(new) else {
            continue;
        };
        let own = in_backticks(&answer.description);
        let more = more.iter().filter(|code| !own.contains(*code));
        for code in more {
            let comma = if answer.description.is_empty() {
                ""
            } else {
                ", "
            };
            answer.description += &format!("{comma}`{code}`");
        }
    }
    for (status, answer) in answers.iter_mut() {
        let RefOr::T(answer) = answer else { continue };
        if status.as_str() >= "400" {
            let schema = one_of(&in_backticks(&answer.description));
            let content = RefOr::T(content(schema));
            let kind = problem::CONTENT_TYPE.to_owned();
            answer.content.insert(kind, content);
        }
    }
    answers
        .entry("default".to_owned())
        .or_insert_with(|| RefOr::Ref(Ref::from_response_name(PROBLEM)));
}

/// What the kit answers in the place of a handler, or when one fails.
fn common(operation: &Operation, path: &str) -> Codes {
    let mut codes = Codes::new();
    let mut add = |status: &str, code: &str| {
        let codes = codes.entry(status.to_owned()).or_default();
        codes.insert(code.to_owned());
    };
    add("500", "internal");
    add("503", "request-timed-out");
    if !requests::JUDGED_BY.contains(&path) {
        add("503", "busy");
    }
    if has_parameter(operation, &ParameterIn::Path) {
        add("400", "invalid-path");
    }
    if has_parameter(operation, &ParameterIn::Query) {
        add("400", "invalid-query");
    }
    if takes_json(operation) {
        add("400", "invalid-json");
        add("408", "body-too-slow");
        add("413", "body-too-large");
        add("415", "not-json-content-type");
        add("422", "unexpected-json");
    }
    codes
}

fn has_parameter(operation: &Operation, place: &ParameterIn) -> bool {
    let parameters = operation.parameters.iter().flatten();
    parameters
        .filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(&parameter.parameter_in),
            RefOr::Ref(_) => None,
        })
        .any(|found| found == place)
}

fn takes_json(operation: &Operation) -> bool {
    match &operation.request_body {
        Some(RefOr::T(body)) => body.content.contains_key("application/json"),
        Some(RefOr::Ref(_)) | None => false,
    }
}

/// Unique, since a method and a path are: `putHelloUser`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |id, word| {
        let (first, rest) = word.split_at(1);
        id + &first.to_ascii_uppercase() + rest
    })
}

fn in_backticks(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(String::from)
        .collect()
}

fn schema_name() -> String {
    problem::Document::name().into_owned()
}

fn any_problem() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(schema_name()))
}

/// A problem with one of these codes.
fn one_of(codes: &BTreeSet<String>) -> RefOr<Schema> {
    let code = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(codes.iter().map(String::as_str)));
    let codes = ObjectBuilder::new().property("code", code);
    let both = AllOfBuilder::new().item(any_problem()).item(codes);
    RefOr::T(both.build().into())
}

fn content(schema: RefOr<Schema>) -> Content {
    ContentBuilder::new().schema(Some(schema)).build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("delete", &mut item.delete),
        ("patch", &mut item.patch),
        ("head", &mut item.head),
        ("options", &mut item.options),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_operations() {
        for (method, path, id) in [
            ("get", "/", "get"),
            ("put", "/hello/{user}", "putHelloUser"),
            ("get", "/openapi.json", "getOpenapiJson"),
            ("get", "/images/{id}/{variant}", "getImagesIdVariant"),
        ] {
            assert_eq!(operation_id(method, path), id);
        }
    }

    #[test]
    fn codes_stand_in_backticks() {
        let codes = in_backticks("`a-b` for one, `c` for the other");
        assert_eq!(codes, ["a-b", "c"].map(String::from).into());
        assert_eq!(in_backticks("none"), BTreeSet::new());
    }
}
