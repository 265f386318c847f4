//! Uploads, from the form to the stored sizes.
#![allow(clippy::unwrap_used)]

use std::io::Cursor;
use std::num::NonZero;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::Request;
use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::{Value, json};
use service_kit::testing::{Answer, call, request};
use service_kit::{Kit, Lifecycle, Settings, about};
use tempfile::TempDir;
use upload::{Config, start};

fn config(folder: &Path) -> Config {
    Config {
        store: Some(
            format!("file://{}", folder.join("data").display())
                .parse()
                .unwrap(),
        ),
        workers: 2,
        max_bytes: 1 << 20,
        max_pixels: 1_000_000,
        per_second: NonZero::new(1000).unwrap(),
    }
}

async fn app(config: Config) -> (Router, Lifecycle) {
    let mut kit = Kit::new(about!(), Settings::default());
    let routes = start(config, &mut kit).await.unwrap();
    (kit.app(routes), kit.lifecycle().clone())
}

async fn fresh() -> (TempDir, Router, Lifecycle) {
    let folder = tempfile::tempdir().unwrap();
    let (app, lifecycle) = app(config(folder.path())).await;
    (folder, app, lifecycle)
}

fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let mut file = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(image)
        .write_to(&mut file, format)
        .unwrap();
    file.into_inner()
}

fn form(field: &str, file: &[u8]) -> Request<Body> {
    let head = format!(
        "--x\r\ncontent-disposition: form-data; name=\"{field}\"; filename=\"a.txt\"\r\n\
         content-type: text/plain\r\n\r\n"
    );
    let body = [head.as_bytes(), file, b"\r\n--x--\r\n"].concat();
    Request::post("/upload")
        .header("content-type", "multipart/form-data; boundary=x")
        .body(Body::from(body))
        .unwrap()
}

async fn get(app: &Router, path: &str) -> Answer {
    call(app, request("GET", path, &Value::Null)).await
}

async fn wait_for_job(app: &Router, path: &str) -> Value {
    let started = Instant::now();
    loop {
        let job = get(app, path).await.json();
        if job["state"] != "running" {
            return job;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{job}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn stores_an_image_in_its_sizes() {
    let (_folder, app, _lifecycle) = fresh().await;
    assert_eq!(get(&app, "/readyz").await.status, 200);
    // The file claims to be text; its content counts.
    let file = encoded(1100, 440, ImageFormat::Jpeg);
    let accepted = call(&app, form("image", &file)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let path = accepted.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(accepted.json()["job"], path);

    let job = wait_for_job(&app, &path).await;
    assert_eq!(job["state"], "done", "{job}");
    assert_eq!(job["variants"], json!(["original", "medium", "thumbnail"]));
    assert_eq!((&job["width"], &job["height"]), (&json!(1100), &json!(440)));
    assert_eq!(job["contentType"], "image/jpeg");
    let id = job["id"].as_str().unwrap();
    let original = get(&app, &format!("/images/{id}/original")).await;
    assert_eq!(original.body, file);
    for (variant, width, height) in [("medium", 1024, 410), ("thumbnail", 256, 102)] {
        let answer = get(&app, &format!("/images/{id}/{variant}")).await;
        assert_eq!(answer.headers["content-type"], "image/jpeg");
        let image = image::load_from_memory(&answer.body).unwrap();
        assert_eq!(
            (image.width(), image.height()),
            (width, height),
            "{variant}"
        );
    }
    let huge = get(&app, &format!("/images/{id}/huge")).await;
    assert_eq!(huge.problem(), "not-found");
}

#[tokio::test]
async fn each_failure_has_its_own_answer() {
    let (_folder, app, _lifecycle) = fresh().await;
    let png = encoded(10, 10, ImageFormat::Png);
    let too_long = vec![0; (1 << 20) + 1];
    let far_too_long = vec![0; 2 << 20];
    let too_many_pixels = encoded(1001, 1000, ImageFormat::Png);
    for (field, file, status, code) in [
        ("image", &b"hello"[..], 415, "not-an-image"),
        ("image", b"", 415, "not-an-image"),
        ("image", &png[..20], 422, "broken-image"),
        ("image", &too_many_pixels, 422, "too-many-pixels"),
        ("image", &too_long, 413, "body-too-large"),
        ("image", &far_too_long, 413, "body-too-large"),
        ("picture", &png, 400, "no-image"),
    ] {
        let answer = call(&app, form(field, file)).await;
        assert_eq!(answer.status.as_u16(), status, "{code}: {}", answer.text());
        assert_eq!(answer.problem(), code);
    }
    let no_form = call(&app, request("POST", "/upload", &json!({}))).await;
    assert_eq!(
        (no_form.status.as_u16(), no_form.problem().as_str()),
        (400, "not-multipart")
    );
    for path in ["/jobs/x", "/images/x/original"] {
        assert_eq!(get(&app, path).await.problem(), "invalid-path");
    }
    let unknown = "/jobs/0b9d4c5e-7a51-4f0e-9f0f-5d2f3a1c7e55";
    assert_eq!(get(&app, unknown).await.problem(), "not-found");
}

#[tokio::test]
async fn a_damaged_image_is_a_failed_job() {
    let (_folder, app, _lifecycle) = fresh().await;
    let mut file = encoded(100, 100, ImageFormat::Png);
    file.truncate(file.len() / 2);
    let accepted = call(&app, form("image", &file)).await;
    assert_eq!(accepted.status, 202);
    let job = wait_for_job(&app, accepted.json()["job"].as_str().unwrap()).await;
    assert_eq!(job["state"], "failed");
    let reason = job["reason"].as_str().unwrap();
    assert!(reason.starts_with("the image is damaged"), "{reason}");
}

#[tokio::test]
async fn turns_an_upload_away_when_no_worker_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = Config {
        workers: 0,
        ..config(folder.path())
    };
    let (app, _lifecycle) = app(nobody).await;
    let started = Instant::now();
    let answer = call(&app, form("image", &encoded(9, 9, ImageFormat::Png))).await;
    assert!(
        started.elapsed() >= Duration::from_millis(100),
        "it waits for one"
    );
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "busy")
    );
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn of_a_burst_none_is_lost_that_was_accepted() {
    let (_folder, app, _lifecycle) = fresh().await;
    let file = encoded(300, 300, ImageFormat::Jpeg);
    let uploads = (0..30).map(|_| {
        let (app, form) = (app.clone(), form("image", &file));
        tokio::spawn(async move { call(&app, form).await })
    });
    let uploads: Vec<_> = uploads.collect();
    let mut accepted = Vec::new();
    for upload in uploads {
        let answer = upload.await.unwrap();
        match answer.status.as_u16() {
            202 => accepted.push(answer.json()["job"].as_str().unwrap().to_owned()),
            503 => assert_eq!(answer.problem(), "busy"),
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(accepted.len() >= 2, "{}", accepted.len());
    for job in accepted {
        assert_eq!(wait_for_job(&app, &job).await["state"], "done");
    }
}

#[tokio::test]
async fn what_was_taken_is_finished_and_known_after_a_restart() {
    let (folder, first, lifecycle) = fresh().await;
    let file = encoded(900, 900, ImageFormat::Png);
    let accepted = call(&first, form("image", &file)).await;
    let path = accepted.json()["job"].as_str().unwrap().to_owned();
    // Waits for the worker, however little it has done yet.
    lifecycle.stop().await;

    let (second, _lifecycle) = app(config(folder.path())).await;
    let job = get(&second, &path).await.json();
    assert_eq!(job["state"], "done", "{job}");
    let id = job["id"].as_str().unwrap();
    assert_eq!(
        get(&second, &format!("/images/{id}/thumbnail"))
            .await
            .status,
        200
    );

    // As a crash would leave it.
    let record = folder.path().join("data/jobs").join(id);
    let mut cut_off = job.clone();
    cut_off["state"] = json!("running");
    std::fs::write(record, cut_off.to_string()).unwrap();
    let job = get(&second, &path).await.json();
    assert_eq!(job["state"], "failed", "{job}");
}

#[tokio::test]
async fn is_unready_when_the_folder_cannot_be_written() {
    let (folder, app, _lifecycle) = fresh().await;
    let data = folder.path().join("data");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::write(&data, "a file").unwrap();
    let report = get(&app, "/readyz").await;
    assert_eq!(report.status, 503, "{}", report.text());
    assert!(report.json()["checks"][0]["reason"].is_string());
}
