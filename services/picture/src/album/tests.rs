//! Decisions without a backend, and the task that keeps the picture fresh beside a clock that jumps.

use std::net::TcpListener;
use std::process::Command;

use bytes::Bytes;
use service_kit::prometheus_client::encoding::text::encode;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;
use crate::backend::Limits;
use crate::picture::Kind;

const HOUR: Duration = Duration::from_secs(3600);
/// For what takes no time on a machine that is not busy.
const LONG: Duration = Duration::from_secs(60);

fn fetched(age: Duration) -> Picture {
    Picture::new(Kind::Gif, Bytes::new(), SystemTime::now() - age)
}

async fn freshness(album: &Album) -> Option<Freshness> {
    let served = timeout(LONG, album.get()).await;
    served
        .expect("no request waits for ever")
        .map(|served| served.freshness)
}

#[tokio::test]
async fn nobody_waits_for_a_task_that_has_not_noticed_the_expiry() {
    let patience = Duration::from_millis(200);
    let album = Album::new(HOUR, patience);
    album.show(fetched(2 * HOUR));
    assert_eq!(freshness(&album).await, Some(Freshness::Grace));
    let asked = Instant::now();
    assert_eq!(freshness(&album).await, Some(Freshness::Stale));
    assert!(asked.elapsed() >= patience, "{:?}", asked.elapsed());
}

/// A backend that is away.
fn away() -> Backend {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}/");
    Backend::new(url.parse().unwrap(), Limits::default()).unwrap()
}

#[tokio::test]
async fn the_task_notices_a_clock_that_jumps() {
    let album = Album::new(HOUR, Duration::ZERO);
    let backend = away();
    album.show(fetched(Duration::ZERO));
    let noticed = async {
        yield_now().await;
        // For the task, which sleeps by now, the same as a clock that was set.
        album.show(fetched(2 * HOUR));
        while album.metrics.failed.get() == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        biased;
        () = album.keep_fresh(&backend, None) => {}
        noticed = timeout(LONG, noticed) => noticed.expect("it tries to replace the picture"),
    }
}

/// The metrics as they are served.
fn metrics(album: &Album) -> String {
    let (mut registry, mut text) = (Registry::default(), String::new());
    album.register(&mut registry);
    encode(&mut text, &registry).unwrap();
    text
}

#[test]
fn metrics_say_how_old_the_picture_is() {
    let album = Album::new(HOUR, Duration::ZERO);
    assert!(metrics(&album).contains("picture_fetched_timestamp_seconds 0.0\n"));
    let made = SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567_500);
    album.show(Picture::new(Kind::Gif, Bytes::new(), made));
    let text = metrics(&album);
    assert!(
        text.contains("picture_fetched_timestamp_seconds 1234567.5\n"),
        "{text}"
    );
    assert!(text.contains("picture_ttl_seconds 3600.0\n"), "{text}");
}

/// A pipe that nobody reads: who opens it for writing hangs, as on a volume whose server is gone.
#[tokio::test]
async fn a_volume_that_hangs_does_not_keep_a_picture_from_being_shown() {
    let folder = tempfile::tempdir().unwrap();
    let limit = Duration::from_millis(300);
    // With all the time it takes: a busy machine does not hang.
    let mut cache = Cache::open(folder.path().to_owned(), "s".into(), LONG)
        .await
        .unwrap();
    cache.limit = limit;
    let pipe = folder.path().join("picture.next");
    std::fs::remove_file(&pipe).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );

    let album = Album::new(HOUR, Duration::ZERO);
    album.replace(fetched(Duration::ZERO), Some(&cache)).await;
    assert!(matches!(freshness(&album).await, Some(Freshness::Fresh(_))));
    assert_eq!(album.metrics.unkept.get(), 1);
    album.replace(fetched(Duration::ZERO), Some(&cache)).await;
    assert_eq!(album.metrics.unkept.get(), 2);
    // Lets the one that hangs end, without which the test would not.
    std::fs::read(&pipe).unwrap();
}
