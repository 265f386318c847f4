//! The list of jobs and its pages.

use axum::Router;
use image::ImageFormat;
use serde_json::Value;
use service_kit::testing::{call, request};

use crate::support::{accepted, app, encoded, form, get, in_memory, wait_for_job};

/// The ids of finished jobs, the oldest first.
async fn jobs(app: &Router, number: usize) -> Vec<String> {
    let file = encoded(8, 8, ImageFormat::Png);
    let mut ids = Vec::new();
    for _ in 0..number {
        let path = accepted(app, &file).await;
        wait_for_job(app, &path).await;
        ids.push(path.trim_start_matches("/jobs/").to_owned());
    }
    ids
}

fn ids(page: &Value) -> Vec<&str> {
    let jobs = page["jobs"].as_array().unwrap().iter();
    jobs.map(|job| job["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_have_the_newest_first_and_each_job_once() {
    let (app, _lifecycle) = app(in_memory()).await;
    let empty = get(&app, "/jobs").await.json();
    assert_eq!(empty, serde_json::json!({ "jobs": [] }));

    let mut expected = jobs(&app, 5).await;
    expected.reverse();
    let all = get(&app, "/jobs").await.json();
    assert_eq!(ids(&all), expected);
    assert_eq!(all["next"], Value::Null);
    assert_eq!(all["jobs"][0]["state"], "done");
    assert_eq!(all["jobs"][0]["contentType"], "image/png");

    let mut path = "/jobs?limit=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let page = get(&app, &path).await.json();
        pages.push(ids(&page).len());
        let seen: usize = pages.iter().sum();
        assert_eq!(ids(&page), expected[seen - ids(&page).len()..seen]);
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/jobs?limit=2&before={next}");
        // What is uploaded meanwhile is on no later page.
        jobs(&app, 1).await;
    }
    assert_eq!(pages, [2, 2, 1]);

    let exactly = get(&app, &format!("/jobs?limit=2&before={}", expected[2])).await;
    assert_eq!(ids(&exactly.json()), expected[3..]);
    assert_eq!(exactly.json()["next"], Value::Null);
}

#[tokio::test]
async fn bad_queries() {
    let (app, _lifecycle) = app(in_memory()).await;
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "limit=",
        "before=x",
        "after=0b9d4c5e-7a51-4f0e-9f0f-5d2f3a1c7e55",
        "limit=1&limit=2",
    ] {
        let answer = get(&app, &format!("/jobs?{query}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (400, "invalid-query"),
            "{query}"
        );
    }
    assert_eq!(get(&app, "/jobs?limit=1000").await.status, 200);
}

#[tokio::test]
async fn a_job_names_the_request_that_brought_it() {
    let (app, _lifecycle) = app(in_memory()).await;
    let mut upload = form("image", &encoded(8, 8, ImageFormat::Png));
    let id = http::HeaderValue::from_static("from-the-gateway-7");
    upload.headers_mut().insert("x-request-id", id);
    let answer = call(&app, upload).await;
    assert_eq!(answer.headers["x-request-id"], "from-the-gateway-7");
    let path = answer.json()["job"].as_str().unwrap().to_owned();
    assert_eq!(
        wait_for_job(&app, &path).await["request"],
        "from-the-gateway-7"
    );
    let listed = call(&app, request("GET", "/jobs", &Value::Null)).await;
    assert_eq!(listed.json()["jobs"][0]["request"], "from-the-gateway-7");
}
