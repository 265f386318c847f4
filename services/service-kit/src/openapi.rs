//! `/openapi.json`: the OpenAPI document of a service, made from the routes themselves, so that the two cannot differ.

use axum::Router;
use axum::routing::get;
use http::header;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{Components, ContentBuilder, Info, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use crate::about::About;
use crate::problem;

/// The name of the answer that every operation may give.
const PROBLEM: &str = "Problem";

/// The document of `api`, completed by what is the same everywhere: who the service is, and how it fails.
pub(crate) fn document(mut api: OpenApi, about: &About) -> OpenApi {
    api.info = Info::new(about.name, about.version);
    api.info.description = Some(about.description.to_owned());
    let components = api.components.get_or_insert_with(Components::new);
    let schema = problem::Document::name().into_owned();
    let refers = Ref::from_schema_name(schema.clone());
    components
        .schemas
        .insert(schema, problem::Document::schema());
    let response = ResponseBuilder::new()
        .description("a problem (RFC 9457); `code` says which and does not change")
        .content(
            problem::CONTENT_TYPE,
            ContentBuilder::new().schema(Some(refers)).build(),
        )
        .build();
    components
        .responses
        .insert(PROBLEM.to_owned(), RefOr::T(response));
    for item in api.paths.paths.values_mut() {
        for operation in operations(item) {
            let answers = &mut operation.responses.responses;
            answers
                .entry("default".to_owned())
                .or_insert_with(|| RefOr::Ref(Ref::from_response_name(PROBLEM)));
        }
    }
    api
}

/// The route that answers with `document`.
pub(crate) fn route(document: &OpenApi) -> Router {
    let text = document
        .to_json()
        .expect("the document is texts and maps of them");
    Router::new().route(
        "/openapi.json",
        get(move || async { ([(header::CONTENT_TYPE, "application/json")], text) }),
    )
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
        &mut item.head,
        &mut item.options,
    ]
    .into_iter()
    .flatten()
}
