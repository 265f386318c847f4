//! Uploads, from the form to the stored sizes.

use image::ImageFormat;
use serde_json::json;
use service_kit::testing::call;

use crate::support::{
    accepted, app, config, encoded, eventually, form, fresh, get, metric, wait_for_job,
};

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
async fn a_damaged_image_is_a_failed_job() {
    let (_folder, app, _lifecycle) = fresh().await;
    let mut file = encoded(100, 100, ImageFormat::Png);
    file.truncate(file.len() / 2);
    let job = wait_for_job(&app, &accepted(&app, &file).await).await;
    assert_eq!(job["state"], "failed");
    assert_eq!(metric(&app, "upload_failed_total").await, 1.0);
    let reason = job["reason"].as_str().unwrap();
    assert!(reason.starts_with("the image is damaged"), "{reason}");
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
    let number = accepted.len() as f64;
    for job in accepted {
        assert_eq!(wait_for_job(&app, &job).await["state"], "done");
    }
    let counts = [
        ("upload_accepted_total", number),
        ("upload_done_total", number),
        ("upload_refused_total{code=\"busy\"}", 30.0 - number),
        ("upload_job_seconds_count", number),
        ("upload_workers_busy", 0.0),
        ("upload_workers", 2.0),
    ];
    for (name, expected) in counts {
        // A worker is free a moment after its job is recorded.
        eventually(&app, name, expected).await;
    }
}

#[tokio::test]
async fn what_was_taken_is_finished_and_known_after_a_restart() {
    let (folder, first, lifecycle) = fresh().await;
    let file = encoded(900, 900, ImageFormat::Png);
    let path = accepted(&first, &file).await;
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
    let answer = call(&app, form("image", &encoded(9, 9, ImageFormat::Png))).await;
    assert_eq!(answer.problem(), "store-unavailable");
    assert_eq!(answer.headers["retry-after"], "1");
}
