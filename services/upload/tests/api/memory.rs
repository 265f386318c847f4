//! How much memory a real process takes at most: its pod has a limit.

use std::io::Cursor;

use futures_util::future::join_all;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use service_kit::testing::free_port;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::process::Process;
use crate::support::noise;

/// In KiB, as `service.yaml` has it.
const LIMIT_OF_THE_POD: u64 = 768 * 1024;
const LARGEST_FILE: usize = 10 << 20;

/// As many pixels as are taken, each as large as there are, and to be turned:
/// decoded it is 128 MB, and twice that while it is turned.
fn largest() -> Vec<u8> {
    let pixels = vec![0; 4000 * 4000 * 8];
    let mut file = Cursor::new(Vec::new());
    let encoder =
        PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::NoFilter);
    let kind = ExtendedColorType::Rgba16;
    encoder.write_image(&pixels, 4000, 4000, kind).unwrap();
    let file = file.into_inner();
    // After signature and head: the right side was at the top.
    let turned = b"eXIfMM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = (turned.len() as u32 - 4).to_be_bytes();
    let checksum = png_crc(turned).to_be_bytes();
    let (head, rest) = file.split_at(33);
    [head, &length, turned, &checksum, rest].concat()
}

fn png_crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 * (crc & 1))
        })
    })
}

/// A client of its own that has sent all of a file but its end.
async fn almost_sent(process: &Process, client: usize) -> TcpStream {
    let address = process.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /upload HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\
         content-type: multipart/form-data; boundary=x\r\nx-forwarded-for: 10.0.0.{client}\r\n\r\n\
         --x\r\ncontent-disposition: form-data; name=\"image\"\r\n\r\n",
        LARGEST_FILE + 1000
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![7; LARGEST_FILE]).await.unwrap();
    stream
}

#[tokio::test]
async fn the_largest_images_and_bodies_at_once_fit_into_the_pod() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("TRUSTED_PROXIES", "1"), ("REQUEST_SECONDS", "60")];
    let process = Process::start(folder.path(), free_port(), &variables).await;
    let file = largest();
    // Two workers have them, and nobody has another.
    let mut jobs = Vec::new();
    for (status, number) in [(202, 1), (202, 2), (503, 3), (503, 4), (503, 5)] {
        let request = format!("large-{number}");
        let (found, answer) = process.client().upload(&file, &request).await.unwrap();
        assert_eq!(found, status, "{answer}");
        jobs.extend(answer["id"].as_str().map(str::to_owned));
    }
    let bodies = (0..16).map(|client| almost_sent(&process, client));
    let _bodies = join_all(bodies).await;
    for job in &jobs {
        let job = process.ended(job).await;
        assert_eq!(job["state"], "done", "{job}");
    }
    let peak = process.peak_memory();
    assert!(peak < LIMIT_OF_THE_POD, "{peak} KiB");
    // Otherwise they were not decoded and turned, and it proved nothing.
    assert!(peak > 240 * 1024, "{peak} KiB");
}

#[tokio::test]
async fn clients_that_do_not_read_their_images_fill_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), free_port(), &[]).await;
    let file = noise(1400);
    assert!(file.len() > 5 << 20, "{}", file.len());
    let (_, answer) = process.client().upload(&file, "noise").await.unwrap();
    let id = answer["id"].as_str().unwrap();
    assert_eq!(process.ended(id).await["state"], "done");
    let before = process.peak_memory();

    let address = process.url.trim_start_matches("http://");
    let request = format!("GET /images/{id}/original HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let mut idle = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        idle.push(stream);
    }
    for stream in &idle {
        // The answer has begun, and stays where it is.
        assert_eq!(stream.peek(&mut [0]).await.unwrap(), 1);
    }
    let (status, original) = process.get(&format!("/images/{id}/original")).await;
    assert_eq!(status, 200);
    assert!(original == file);
    let grown = process.peak_memory() - before;
    assert!(grown < 80 << 10, "{grown} KiB for 40 clients");
}
