//! The same tests over each kind of store, and what is S3's alone.

use std::time::{Duration, Instant};

use axum::Router;
use http::StatusCode;
use image::ImageFormat;
use serde_json::json;
use service_kit::testing::call;
use upload::Config;

use crate::s3::Bucket;
use crate::support::{accepted, app, config, encoded, form, get, in_memory, noise, wait_for_job};

/// What every store does.
async fn keeps_images_and_jobs(app: &Router) -> Vec<String> {
    let ready = get(app, "/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    assert_eq!(get(app, "/jobs").await.json(), json!({ "jobs": [] }));

    let mut paths = Vec::new();
    // The first is read in several parts.
    for file in [
        noise(500),
        encoded(300, 200, ImageFormat::Png),
        encoded(301, 200, ImageFormat::Jpeg),
        encoded(302, 200, ImageFormat::WebP),
    ] {
        let path = accepted(app, &file).await;
        let job = wait_for_job(app, &path).await;
        assert_eq!(job["state"], "done", "{job}");
        let id = job["id"].as_str().unwrap();
        let original = get(app, &format!("/images/{id}/original")).await;
        assert!(original.body == file, "{job}");
        assert_eq!(
            original.headers["content-type"],
            *job["contentType"].as_str().unwrap()
        );
        assert_eq!(original.headers["content-length"], file.len().to_string());
        let thumbnail = get(app, &format!("/images/{id}/thumbnail")).await;
        let thumbnail = image::load_from_memory(&thumbnail.body).unwrap();
        assert_eq!(thumbnail.width(), 256);
        paths.push(path);
    }

    let jobs = get(app, "/jobs?limit=2").await.json();
    let listed = jobs["jobs"].as_array().unwrap().iter();
    let listed: Vec<_> = listed.map(|job| job["width"].clone()).collect();
    assert_eq!(listed, [302, 301]);
    assert_eq!(jobs["next"], jobs["jobs"][1]["id"]);

    let unknown = "0190163d-8694-739b-aea5-966c26f8ad90";
    for path in [
        format!("/jobs/{unknown}"),
        format!("/images/{unknown}/medium"),
    ] {
        assert_eq!(get(app, &path).await.problem(), "not-found");
    }
    paths
}

async fn outlives_the_process(config: Config) {
    let (first, lifecycle) = app(config.clone()).await;
    let paths = keeps_images_and_jobs(&first).await;
    lifecycle.stop().await;
    let (second, _lifecycle) = app(config).await;
    for path in paths {
        assert_eq!(get(&second, &path).await.json()["state"], "done");
    }
}

#[tokio::test]
async fn a_folder() {
    let folder = tempfile::tempdir().unwrap();
    outlives_the_process(config(folder.path())).await;
}

#[tokio::test]
async fn memory() {
    let (app, _lifecycle) = app(in_memory()).await;
    keeps_images_and_jobs(&app).await;
    let stores = &get(&app, "/readyz").await.json()["stores"];
    let expected = json!([{ "name": "images", "place": "memory", "embedded": true }]);
    assert_eq!(*stores, expected);
}

#[tokio::test]
async fn s3() {
    let bucket = Bucket::start().await;
    outlives_the_process(bucket.config()).await;
    let keys = bucket.keys();
    assert_eq!(keys.len(), 4 * 3 + 4 + 1, "{keys:?}");
    assert!(
        keys.iter().all(|key| key.starts_with("folder/")),
        "{keys:?}"
    );
}

#[tokio::test]
async fn s3_in_a_whole_bucket() {
    let bucket = Bucket::start().await;
    let config = Config {
        store: Some("s3://bucket".parse().unwrap()),
        ..bucket.config()
    };
    outlives_the_process(config).await;
    assert!(bucket.keys().contains(&"ready".to_owned()));
}

#[tokio::test]
async fn s3_is_asked_again_after_a_failure() {
    let bucket = Bucket::start().await;
    let (app, _lifecycle) = app(bucket.config()).await;
    bucket.fail_next(&[
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::SERVICE_UNAVAILABLE,
    ]);
    let path = accepted(&app, &encoded(9, 9, ImageFormat::Png)).await;
    assert_eq!(wait_for_job(&app, &path).await["state"], "done");
    let puts = bucket.requests().into_iter();
    let originals = puts
        .filter(|request| request.ends_with("/original"))
        .count();
    assert_eq!(originals, 3, "two failures and the one that was stored");
}

#[tokio::test]
async fn s3_that_does_not_know_the_key() {
    let bucket = Bucket::start().await;
    let stranger = Config {
        s3: bucket.settings("other-key"),
        ..bucket.config()
    };
    let (app, _lifecycle) = app(stranger).await;
    let report = get(&app, "/readyz").await;
    assert_eq!(report.status, 503);
    let reason = report.json()["checks"][0]["reason"].clone();
    let reason = reason.as_str().unwrap();
    assert!(reason.contains("InvalidAccessKeyId"), "{reason}");
    assert!(!reason.contains("secret"), "{reason}");

    let started = Instant::now();
    let answer = call(&app, form("image", &encoded(9, 9, ImageFormat::Png))).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "store-unavailable")
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "it is not retried"
    );
    assert_eq!(get(&app, "/jobs").await.problem(), "store-unavailable");
    assert_eq!(bucket.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn s3_that_is_away_is_a_reason_at_once() {
    let bucket = Bucket::start().await;
    let (app, _lifecycle) = app(bucket.config()).await;
    bucket.fail_next(&[StatusCode::SERVICE_UNAVAILABLE]);
    let report = get(&app, "/readyz").await;
    assert_eq!(report.status, 503);
    let reason = report.json()["checks"][0]["reason"].clone();
    assert!(reason.as_str().unwrap().contains("503"), "{reason}");
    assert_eq!(get(&app, "/readyz").await.status, 200);
}
