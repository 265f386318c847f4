//! The document of the API has every route and every answer.

use std::collections::BTreeSet;

use crate::support::{app, get, in_memory};

#[tokio::test]
async fn has_each_answer_of_each_route() {
    let (app, _lifecycle) = app(in_memory()).await;
    let document = get(&app, "/openapi.json").await.json();
    for (path, method, statuses, codes) in [
        (
            "/upload",
            "post",
            "202 400 408 413 415 422 429 500 503 default",
            "not-multipart broken-form no-image body-too-slow body-too-large not-an-image \
             broken-image head-too-large too-many-pixels too-many-requests busy \
             store-unavailable request-timed-out",
        ),
        (
            "/jobs",
            "get",
            "200 400 500 503 default",
            "invalid-query store-unavailable",
        ),
        (
            "/jobs/{id}",
            "get",
            "200 400 404 500 503 default",
            "invalid-path not-found store-unavailable",
        ),
        (
            "/images/{id}/{variant}",
            "get",
            "200 400 404 500 503 default",
            "invalid-path not-found store-unavailable",
        ),
    ] {
        let answers = document["paths"][path][method]["responses"].as_object();
        let answers = answers.unwrap_or_else(|| panic!("no {path}"));
        let found: BTreeSet<&str> = answers.keys().map(String::as_str).collect();
        assert_eq!(found, statuses.split(' ').collect(), "{path}");
        let texts: Vec<&str> = answers
            .values()
            .filter_map(|answer| answer["description"].as_str())
            .collect();
        for code in codes.split_whitespace() {
            let quoted = format!("`{code}`");
            assert!(
                texts.iter().any(|text| text.contains(&quoted)),
                "{path} {code}"
            );
        }
    }
}

#[tokio::test]
async fn has_the_fields_of_what_is_answered() {
    let (app, _lifecycle) = app(in_memory()).await;
    let document = get(&app, "/openapi.json").await.json();
    let schemas = &document["components"]["schemas"];
    let job = schemas["Job"].to_string();
    for field in [
        "id",
        "request",
        "contentType",
        "width",
        "height",
        "bytes",
        "state",
        "variants",
        "reason",
    ] {
        assert!(
            job.contains(&format!("\"{field}\"")) || schemas["State"].to_string().contains(field),
            "{field}: {job}"
        );
    }
    assert_eq!(schemas["Accepted"]["properties"]["id"]["format"], "uuid");
    assert!(schemas["Problem"]["properties"]["code"].is_object());
}
