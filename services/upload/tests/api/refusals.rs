//! Each reason to refuse an upload has an answer of its own.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::Request;
use image::ImageFormat;
use serde_json::json;
use service_kit::Settings;
use service_kit::testing::{Answer, call, request};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use upload::Config;

use crate::support::{
    accepted, app, app_with, encoded, form, form_body, form_of, fresh, get, in_memory, metric,
    wait_for_job,
};

#[tokio::test]
async fn each_failure_has_its_own_answer() {
    let (_folder, app, _lifecycle) = fresh().await;
    let png = encoded(10, 10, ImageFormat::Png);
    let mut empty = encoded(1, 1, ImageFormat::Gif);
    empty[6..10].fill(0);
    let too_long = vec![0; (1 << 20) + 1];
    let far_too_long = vec![0; 2 << 20];
    let too_many_pixels = encoded(1001, 1000, ImageFormat::Png);
    for (field, file, status, code) in [
        ("image", &b"hello"[..], 415, "not-an-image"),
        ("image", b"", 415, "not-an-image"),
        (
            "image",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            415,
            "not-an-image",
        ),
        ("image", &png[..20], 422, "broken-image"),
        ("image", &empty, 422, "broken-image"),
        ("image", &too_many_pixels, 422, "too-many-pixels"),
        ("image", &too_long, 413, "body-too-large"),
        ("image", &far_too_long, 413, "body-too-large"),
        ("picture", &png, 400, "no-image"),
    ] {
        let answer = call(&app, form(field, file)).await;
        assert_eq!(answer.status.as_u16(), status, "{code}: {}", answer.text());
        assert_eq!(answer.problem(), code);
    }
    let refused = "upload_refused_total{code=\"not-an-image\"}";
    assert_eq!(metric(&app, refused).await, 3.0);
    assert_eq!(metric(&app, "upload_accepted_total").await, 0.0);
    for path in ["/jobs/x", "/images/x/original"] {
        assert_eq!(get(&app, path).await.problem(), "invalid-path");
    }
    let unknown = "/jobs/0b9d4c5e-7a51-4f0e-9f0f-5d2f3a1c7e55";
    assert_eq!(get(&app, unknown).await.problem(), "not-found");
}

#[tokio::test]
async fn what_is_no_form_or_half_of_one() {
    let (app, _lifecycle) = app(in_memory()).await;
    let no_form = call(&app, request("POST", "/upload", &json!({}))).await;
    assert_eq!(
        (no_form.status.as_u16(), no_form.problem().as_str()),
        (400, "not-multipart")
    );
    let no_boundary = Request::post("/upload")
        .header("content-type", "multipart/form-data")
        .body(Body::empty())
        .unwrap();
    assert_eq!(call(&app, no_boundary).await.problem(), "not-multipart");

    let whole = form_body("image", &encoded(10, 10, ImageFormat::Png));
    for end in [0, 10, 60, whole.len() - 10] {
        let answer = call(&app, form_of(Body::from(whole[..end].to_vec()))).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (400, "broken-form"),
            "{end}"
        );
    }
}

#[tokio::test]
async fn other_fields_are_passed_over() {
    let (app, _lifecycle) = app(in_memory()).await;
    let before = b"--x\r\ncontent-disposition: form-data; name=\"title\"\r\n\r\nA day\r\n".to_vec();
    let body = [before, form_body("image", &encoded(9, 9, ImageFormat::Gif))].concat();
    assert_eq!(call(&app, form_of(Body::from(body))).await.status, 202);
}

/// What is passed over may take longer than a client may be silent, too.
#[tokio::test]
async fn other_fields_may_take_their_time() {
    let (app, _lifecycle) = app(in_memory()).await;
    let head = b"--x\r\ncontent-disposition: form-data; name=\"title\"\r\n\r\n".to_vec();
    let rest = [
        b"\r\n",
        &form_body("image", &encoded(9, 9, ImageFormat::Gif))[..],
    ]
    .concat();
    let words = (0..20).map(|_| b"and another word; ".to_vec());
    let pieces = std::iter::once(head).chain(words).chain([rest]);
    let body = Body::from_stream(stream::iter(pieces).then(|piece| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok::<_, Infallible>(Bytes::from(piece))
    }));
    let answer = call(&app, form_of(body)).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// A frame that is much larger than the screen of its GIF.
#[tokio::test]
async fn a_bomb_behind_an_honest_head_is_a_failed_job() {
    let (app, _lifecycle) = app(in_memory()).await;
    let gif = [
        &b"GIF89a\x0A\0\x0A\0\x80\0\0"[..],
        b"\0\0\0\xFF\xFF\xFF",
        b"\x2C\0\0\0\0\xFF\xFF\xFF\xFF\0",
        b"\x02\x02\x4C\x01\0\x3B",
    ]
    .concat();
    let job = wait_for_job(&app, &accepted(&app, &gif).await).await;
    assert_eq!(job["state"], "failed", "{job}");
    let reason = job["reason"].as_str().unwrap();
    assert!(reason.to_lowercase().contains("memory"), "{reason}");
}

#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let (app, _lifecycle) = app(in_memory()).await;
    let whole = form_body("image", &encoded(10, 10, ImageFormat::Png));
    let (silent, started) = (Arc::new(Semaphore::new(0)), Instant::now());
    let answer = call(&app, form_of(then_silence(&whole[..90], &silent))).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (408, "body-too-slow")
    );
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_body_that_drips_is_given_up_before_its_request_is() {
    let settings = Settings {
        request_limit: Duration::from_millis(600),
        ..Settings::default()
    };
    let (app, _lifecycle) = app_with(in_memory(), settings).await;
    let whole = form_body("image", &encoded(10, 10, ImageFormat::Png));
    let drops = stream::iter(whole).then(|byte| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, Infallible>(Bytes::from(vec![byte]))
    });
    let answer = call(&app, form_of(Body::from_stream(drops))).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (408, "body-too-slow")
    );
}

/// An upload of a client of its own.
fn from(client: &str, body: Body) -> Request<Body> {
    let mut form = form_of(body);
    let client = client.parse().unwrap();
    form.headers_mut().insert("x-forwarded-for", client);
    form
}

/// This many uploads of a client that stop in the middle, once they have.
async fn stop_midway(app: &Router, client: &str, number: u32) -> Vec<JoinHandle<Answer>> {
    let whole = form_body("image", &encoded(10, 10, ImageFormat::Png));
    let silent = Arc::new(Semaphore::new(0));
    let open = (0..number).map(|_| {
        let form = from(client, then_silence(&whole[..90], &silent));
        let app = app.clone();
        tokio::spawn(async move { call(&app, form).await })
    });
    let open = open.collect();
    let all = timeout(Duration::from_secs(20), silent.acquire_many(number)).await;
    all.unwrap().unwrap().forget();
    open
}

#[tokio::test]
async fn no_more_bodies_are_received_than_fit_into_memory() {
    let settings = Settings {
        proxies: 1,
        ..Settings::default()
    };
    let (app, _lifecycle) = app_with(in_memory(), settings).await;
    let whole = form_body("image", &encoded(9, 9, ImageFormat::Png));
    let upload = |client| call(&app, from(client, Body::from(whole.clone())));

    // One client has half of the places.
    let mut open = stop_midway(&app, "10.0.0.1", 8).await;
    let answer = upload("10.0.0.1").await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "busy")
    );
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(upload("10.0.0.2").await.status, 202);

    open.extend(stop_midway(&app, "10.0.0.2", 8).await);
    let answer = upload("10.0.0.3").await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "busy")
    );
    // A client that goes away gives its place to another.
    for upload in open {
        upload.abort();
        assert!(upload.await.unwrap_err().is_cancelled());
    }
    assert_eq!(upload("10.0.0.1").await.status, 202);
}

#[tokio::test]
async fn turns_an_upload_away_when_no_worker_is_free() {
    let nobody = Config {
        workers: 0,
        ..in_memory()
    };
    let (app, _lifecycle) = app(nobody).await;
    let started = Instant::now();
    let answer = call(&app, form("image", &encoded(9, 9, ImageFormat::Png))).await;
    let took = started.elapsed();
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "busy")
    );
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(took >= Duration::from_millis(100), "{took:?}");
    // Far more than it takes, on a machine that has other things to do.
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// A body of which no more comes, which adds a permit once it is waited for.
fn then_silence(start: &[u8], silent: &Arc<Semaphore>) -> Body {
    let (start, silent) = (Bytes::copy_from_slice(start), Arc::clone(silent));
    let silence = stream::once(async move {
        silent.add_permits(1);
        pending().await
    });
    Body::from_stream(stream::iter([Ok::<_, Infallible>(start)]).chain(silence))
}
