//! What a real process leaves behind when it is asked to end, when it is
//! killed, and what a stranger's files do to it.

use std::time::{Duration, Instant};

use image::ImageFormat;
use serde_json::Value;
use service_kit::testing::{Random, free_port};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::process::{Process, Uploader};
use crate::s3::{Bucket, variables};
use crate::support::{app, encoded, get};

const CLIENTS: usize = 6;
/// For a line to get into the log.
const LIMIT: Duration = Duration::from_secs(30);

/// Uploads until nobody answers any more; the ids of what was accepted.
async fn upload_until_it_is_gone(uploader: Uploader, file: Vec<u8>) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some((status, answer)) = uploader.upload(&file, "burst").await {
        match status {
            202 => ids.push(answer["id"].as_str().unwrap().to_owned()),
            503 => sleep(Duration::from_millis(20)).await,
            other => panic!("{other}: {answer}"),
        }
    }
    ids
}

fn burst(process: &Process, file: &[u8]) -> JoinSet<Vec<String>> {
    let clients = (0..CLIENTS).map(|_| upload_until_it_is_gone(process.client(), file.to_vec()));
    clients.collect()
}

async fn accepted_by(clients: JoinSet<Vec<String>>) -> Vec<String> {
    clients.join_all().await.concat()
}

async fn has_all_variants(process: &Process, job: &Value, file: &[u8]) {
    let id = job["id"].as_str().unwrap();
    for variant in ["original", "medium", "thumbnail"] {
        let (status, image) = process.get(&format!("/images/{id}/{variant}")).await;
        assert_eq!(status, 200, "{variant} of {job}");
        if variant == "original" {
            assert!(image == file, "{id}");
        }
    }
}

#[tokio::test]
async fn all_that_was_accepted_is_finished_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut process = Process::start(folder.path(), port, &[]).await;
    let file = encoded(500, 400, ImageFormat::Jpeg);
    let clients = burst(&process, &file);
    process.has_accepted(10).await;
    process.terminate();
    assert!(process.exit().await.success(), "{}", process.log());
    let accepted = accepted_by(clients).await;
    assert!(accepted.len() >= 10, "{}", accepted.len());

    let process = Process::start(folder.path(), port, &[]).await;
    for id in &accepted {
        let job = process.json(&format!("/jobs/{id}")).await;
        assert_eq!(job["state"], "done", "{job}");
        has_all_variants(&process, &job, &file).await;
    }
}

/// What is to be stored after the answer takes most of the time that shutdown has.
#[tokio::test]
async fn what_was_accepted_is_finished_also_while_s3_is_slow() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::slow(Duration::from_millis(2800)).await;
    let mut variables = bucket.variables();
    variables.push(("DRAIN_SECONDS", "0".to_owned()));
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut process = Process::start(folder.path(), free_port(), &variables).await;
    let file = encoded(300, 200, ImageFormat::Jpeg);
    let (status, answer) = process.client().upload(&file, "slow").await.unwrap();
    process.terminate();
    assert_eq!(status, 202, "{answer}");
    assert!(process.exit().await.success(), "{}", process.log());

    let (app, _lifecycle) = app(bucket.config()).await;
    let job = get(&app, answer["job"].as_str().unwrap()).await.json();
    assert_eq!(job["state"], "done", "{job}: {}", process.log());
}

#[tokio::test]
async fn nothing_that_was_accepted_is_forgotten_after_kills() {
    let mut random = Random::seeded();
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let file = encoded(700, 500, ImageFormat::Png);
    let mut accepted = Vec::new();
    for round in 0..4 {
        let mut process = Process::start(folder.path(), port, &[]).await;
        let clients = burst(&process, &file);
        // More than there are clients: one of them has had its answer.
        process.has_accepted(CLIENTS + 2).await;
        sleep(Duration::from_millis(random.below(800))).await;
        process.kill();
        let ids = accepted_by(clients).await;
        assert!(ids.len() >= 2, "round {round}: {ids:?}");
        accepted.extend(ids);
    }
    let process = Process::start(folder.path(), port, &[]).await;
    for id in &accepted {
        let job = process.json(&format!("/jobs/{id}")).await;
        match job["state"].as_str() {
            Some("done") => has_all_variants(&process, &job, &file).await,
            Some("failed") => {
                let (_, original) = process.get(&format!("/images/{id}/original")).await;
                assert!(original == file, "{job}");
            }
            _ => panic!("{id} is {job}"),
        }
    }
}

#[tokio::test]
async fn a_job_that_was_cut_off_is_failed_and_its_original_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut process = Process::start(folder.path(), port, &[]).await;
    // It takes much longer than the answer does to get here.
    let file = encoded(4000, 3500, ImageFormat::Png);
    let (status, answer) = process.client().upload(&file, "cut-off").await.unwrap();
    process.kill();
    assert_eq!(status, 202, "{answer}");
    let id = answer["id"].as_str().unwrap();

    let process = Process::start(folder.path(), port, &[]).await;
    let job = process.json(&format!("/jobs/{id}")).await;
    assert_eq!(job["state"], "failed", "{job}");
    assert_eq!(
        job["reason"],
        "the job was cut off before its end; upload the image again"
    );
    assert_eq!(job["request"], "cut-off");
    let (status, original) = process.get(&format!("/images/{id}/original")).await;
    assert_eq!(status, 200);
    assert!(original == file);
    let (status, _) = process.get(&format!("/images/{id}/thumbnail")).await;
    assert_eq!(status, 404);
    let listed = process.json("/jobs").await;
    assert_eq!(listed["jobs"][0]["state"], "failed", "{listed}");
}

#[tokio::test]
async fn every_line_about_a_job_has_the_id_of_its_request() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), free_port(), &[]).await;
    let whole = encoded(30, 30, ImageFormat::Png);
    let half = &whole[..whole.len() / 2];
    for (file, request, words) in [
        (&whole[..], "fine-1", "the job is done"),
        (half, "damaged-2", "the job has failed"),
    ] {
        let (_, answer) = process.client().upload(file, request).await.unwrap();
        let id = answer["id"].as_str().unwrap();
        let lines = lines_about(&process, id, words).await;
        assert!(lines.len() >= 2, "{lines:?}");
        for line in lines {
            assert_eq!(line["span"]["request_id"], request, "{line}");
        }
    }
}

/// The log lines about a job, once one of them says these words.
async fn lines_about(process: &Process, id: &str, words: &str) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let log = process.log();
        // The last line may be half written.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let lines: Vec<Value> = whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|line: &Value| line["span"]["job"] == id)
            .collect();
        if lines.iter().any(|line| line["message"] == words) {
            return lines;
        }
        assert!(started.elapsed() < LIMIT, "{log}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Small files that say, or hide, that they are 400 MB to 17 GB large.
fn bombs() -> Vec<(&'static str, Vec<u8>, u16)> {
    let gif = |screen: &[u8; 4], frame: &[u8; 4]| {
        [
            &b"GIF89a"[..],
            screen,
            b"\x80\0\0\0\0\0\xFF\xFF\xFF\x2C\0\0\0\0",
            frame,
            b"\0\x02\x02\x4C\x01\0\x3B",
        ]
        .concat()
    };
    let webp = |canvas: &[u8; 6]| {
        let blocks = vec![0; 400_000];
        let length = (blocks.len() + 10) as u32;
        [
            &b"RIFF"[..],
            &(length + 30).to_le_bytes(),
            b"WEBPVP8X\x0A\0\0\0\0\0\0\0",
            canvas,
            b"VP8 ",
            &length.to_le_bytes(),
            &[0x10, 0, 0, 0x9D, 1, 0x2A, 0xFF, 0x3F, 0xFF, 0x3F],
            &blocks,
        ]
        .concat()
    };
    let mut png = encoded(1, 1, ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 0, 0xC3, 0x50, 0, 0, 0xC3, 0x50]);
    // The checksum of that head.
    let checksum = png_crc(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    vec![
        ("a PNG of 50,000 by 50,000", png, 422),
        ("a large screen", gif(&[0xFF; 4], &[1, 0, 1, 0]), 422),
        ("a large frame", gif(&[9, 0, 9, 0], &[0xFF; 4]), 202),
        ("a large canvas", webp(&[0xFF, 0x3F, 0, 0xFF, 0x3F, 0]), 422),
        ("a large frame of a WebP", webp(&[9, 0, 0, 9, 0, 0]), 422),
    ]
}

fn png_crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 * (crc & 1))
        })
    })
}

#[tokio::test]
async fn bombs_do_not_fill_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), free_port(), &[]).await;
    for (name, bomb, status) in bombs() {
        for _ in 0..3 {
            let (found, answer) = process.client().upload(&bomb, "bomb").await.unwrap();
            assert_eq!(found, status, "{name}: {answer}");
            if let Some(id) = answer["id"].as_str() {
                assert_eq!(process.ended(id).await["state"], "failed", "{name}");
            }
        }
    }
    let peak = process.peak_memory();
    assert!(peak < 150 * 1024, "{peak} KiB");
}

/// In an image from scratch there are no certificates.
#[tokio::test]
async fn s3_over_https_needs_no_certificates_of_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = format!("https://127.0.0.1:{}", free_port());
    let mut all: Vec<(&str, &str)> = vec![
        ("STORE_URL", "s3://bucket/folder"),
        ("SSL_CERT_FILE", "/nonexistent"),
        ("SSL_CERT_DIR", "/nonexistent"),
    ];
    let s3 = variables(&nobody, "key");
    all.extend(s3.iter().map(|(name, value)| (*name, value.as_str())));
    let process = Process::start(folder.path(), free_port(), &all).await;
    let report = process.json("/readyz").await;
    assert_eq!(report["status"], "unready");
    let reason = report["checks"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("Connection refused"), "{reason}");
    let log = process.log();
    assert!(!log.contains("\"secret\""), "{log}");
}
