//! An app in this process, and what is sent to it.

use std::io::Cursor;
use std::num::NonZero;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::Request;
use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::Value;
use service_kit::testing::{Answer, call, request};
use service_kit::{Kit, Lifecycle, Settings, about};
use tempfile::TempDir;
use upload::{Config, S3Settings, start};

/// A configuration that keeps everything in memory.
pub(crate) fn in_memory() -> Config {
    Config {
        store: None,
        s3: S3Settings::default(),
        workers: 2,
        max_bytes: 1 << 20,
        max_pixels: 1_000_000,
        per_second: NonZero::new(1000).unwrap(),
    }
}

/// One that keeps everything in `folder`.
pub(crate) fn config(folder: &Path) -> Config {
    let url = format!("file://{}", folder.join("data").display());
    Config {
        store: Some(url.parse().unwrap()),
        ..in_memory()
    }
}

pub(crate) async fn app(config: Config) -> (Router, Lifecycle) {
    app_with(config, Settings::default()).await
}

pub(crate) async fn app_with(config: Config, settings: Settings) -> (Router, Lifecycle) {
    let mut kit = Kit::new(about!(), settings);
    let routes = start(config, &mut kit).await.unwrap();
    (kit.app(routes), kit.lifecycle().clone())
}

/// An app with a folder of its own.
pub(crate) async fn fresh() -> (TempDir, Router, Lifecycle) {
    let folder = tempfile::tempdir().unwrap();
    let (app, lifecycle) = app(config(folder.path())).await;
    (folder, app, lifecycle)
}

pub(crate) fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let mut file = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(image)
        .write_to(&mut file, format)
        .unwrap();
    file.into_inner()
}

/// A square that cannot be made small: about three bytes for each pixel.
pub(crate) fn noise(edge: u32) -> Vec<u8> {
    let mut state = 1_u32;
    let image = RgbImage::from_fn(edge, edge, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(state >> 24) as u8, (state >> 16) as u8, (state >> 8) as u8])
    });
    let mut file = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(image)
        .write_to(&mut file, ImageFormat::Png)
        .unwrap();
    file.into_inner()
}

/// The body of a form whose one field claims to hold text.
pub(crate) fn form_body(field: &str, file: &[u8]) -> Vec<u8> {
    let head = format!(
        "--x\r\ncontent-disposition: form-data; name=\"{field}\"; filename=\"a.txt\"\r\n\
         content-type: text/plain\r\n\r\n"
    );
    [head.as_bytes(), file, b"\r\n--x--\r\n"].concat()
}

pub(crate) fn form(field: &str, file: &[u8]) -> Request<Body> {
    form_of(Body::from(form_body(field, file)))
}

pub(crate) fn form_of(body: Body) -> Request<Body> {
    Request::post("/upload")
        .header("content-type", "multipart/form-data; boundary=x")
        .body(body)
        .unwrap()
}

pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    call(app, request("GET", path, &Value::Null)).await
}

/// Uploads a file and gives the path of its job.
pub(crate) async fn accepted(app: &Router, file: &[u8]) -> String {
    let answer = call(app, form("image", file)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["job"].as_str().unwrap().to_owned()
}

pub(crate) async fn wait_for_job(app: &Router, path: &str) -> Value {
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

/// The value of a metric, by its name and labels as they are written.
pub(crate) async fn metric(app: &Router, name: &str) -> f64 {
    let text = get(app, "/metrics").await;
    let value = text.text().lines().find_map(|line| {
        let (found, value) = line.rsplit_once(' ')?;
        (found == name).then(|| value.parse().unwrap())
    });
    value.unwrap_or_else(|| panic!("no {name} in {}", text.text()))
}

/// Waits until a metric has a value.
pub(crate) async fn eventually(app: &Router, name: &str, expected: f64) {
    let started = Instant::now();
    loop {
        let found = metric(app, name).await;
        if found == expected {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{name}: {found}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
