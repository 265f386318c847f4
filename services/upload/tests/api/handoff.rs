//! Jobs go from hand to hand: as many as there are workers, and no queue.

use std::time::{Duration, Instant};

use axum::Router;
use image::ImageFormat;
use service_kit::testing::{Answer, call};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::s3::Bucket;
use crate::support::{accepted, app, encoded, eventually, form, get, metric, wait_for_job};

fn upload(app: &Router) -> JoinHandle<(Answer, Duration)> {
    let (app, form) = (
        app.clone(),
        form("image", &encoded(20, 20, ImageFormat::Png)),
    );
    tokio::spawn(async move {
        let started = Instant::now();
        (call(&app, form).await, started.elapsed())
    })
}

fn originals(bucket: &Bucket) -> usize {
    let requests = bucket.requests().into_iter();
    requests
        .filter(|request| request.ends_with("/original"))
        .count()
}

#[tokio::test]
async fn what_no_worker_takes_is_turned_away_and_never_worked_on() {
    let bucket = Bucket::start().await;
    let (app, _lifecycle) = app(bucket.config()).await;
    // Workers hold what they took until the store lets them go on.
    bucket.gate.forget_permits(usize::MAX);
    // All that one client may send at once.
    let uploads: Vec<_> = (0..8).map(|_| upload(&app)).collect();
    let started = Instant::now();
    while uploads.iter().filter(|upload| upload.is_finished()).count() < 6 {
        assert!(started.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(originals(&bucket), 2, "as many as there are workers");
    assert_eq!(metric(&app, "upload_workers_busy").await, 2.0);
    bucket.gate.add_permits(2);

    let mut jobs = Vec::new();
    for upload in uploads {
        let (answer, took) = upload.await.unwrap();
        if answer.status == 202 {
            jobs.push(answer.json()["job"].as_str().unwrap().to_owned());
            continue;
        }
        assert_eq!(answer.problem(), "busy");
        assert_eq!(answer.headers["retry-after"], "1");
        assert!(took >= Duration::from_millis(100), "{took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    assert_eq!(jobs.len(), 2);
    for job in jobs {
        assert_eq!(wait_for_job(&app, &job).await["state"], "done");
    }
    // Nothing was left in a queue.
    assert_eq!(originals(&bucket), 2);
    let listed = get(&app, "/jobs").await.json();
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 2);
}

/// What was accepted is on the hands of its worker, not in a queue before it.
#[tokio::test]
async fn a_worker_has_one_job_until_that_has_ended() {
    let bucket = Bucket::start().await;
    let (app, _lifecycle) = app(bucket.config()).await;
    bucket.late_gate.forget_permits(usize::MAX);
    let file = encoded(20, 20, ImageFormat::Png);
    let jobs = [accepted(&app, &file).await, accepted(&app, &file).await];
    for _ in 0..3 {
        let refused = call(&app, form("image", &file)).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert_eq!(refused.problem(), "busy");
        assert_eq!(metric(&app, "upload_workers_busy").await, 2.0);
    }
    bucket.late_gate.add_permits(10);
    for job in jobs {
        assert_eq!(wait_for_job(&app, &job).await["state"], "done");
    }
    eventually(&app, "upload_workers_busy", 0.0).await;
    accepted(&app, &file).await;
}

/// The 100 ms are there for this: a worker that gets free takes who waits.
#[tokio::test]
async fn a_worker_that_gets_free_takes_who_waits() {
    let bucket = Bucket::start().await;
    let (app, _lifecycle) = app(bucket.config()).await;
    // On a busy machine the two jobs may take longer than who waits has time.
    for attempt in 1..=50 {
        bucket.gate.forget_permits(usize::MAX);
        let before = originals(&bucket);
        let first = [upload(&app), upload(&app)];
        while originals(&bucket) < before + 2 {
            sleep(Duration::from_millis(2)).await;
        }
        let waiting = upload(&app);
        sleep(Duration::from_millis(10)).await;
        assert!(!waiting.is_finished());
        bucket.gate.add_permits(10);
        for upload in first {
            assert_eq!(upload.await.unwrap().0.status, 202);
        }
        if waiting.await.unwrap().0.status == 202 {
            return;
        }
        assert!(attempt < 50, "nobody who waited was taken");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_its_job_to_its_worker() {
    let bucket = Bucket::start().await;
    let (app, _lifecycle) = app(bucket.config()).await;
    bucket.gate.forget_permits(usize::MAX);
    let gone = upload(&app);
    while originals(&bucket) < 1 {
        sleep(Duration::from_millis(2)).await;
    }
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    bucket.gate.add_permits(1);
    let started = Instant::now();
    loop {
        let jobs = get(&app, "/jobs").await.json();
        if jobs["jobs"][0]["state"] == "done" {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{jobs}");
        sleep(Duration::from_millis(10)).await;
    }
}
