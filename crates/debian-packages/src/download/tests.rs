//! Downloads over connections that break, from servers that lie.

use std::fs;
use std::sync::Mutex;

use super::*;
use crate::fake::{FakeArchive, Fault};
use crate::lock::tests::{lock, locked};

const CONTENT: &[u8] = b"0123456789 the content of a package";
const PATH: &str = "pool/app.deb";

async fn start() -> (FakeArchive, Lock) {
    let archive = FakeArchive::start().await;
    archive.server.put(PATH, CONTENT);
    let lock = lock(&archive.server.uri, vec![locked("app", CONTENT)]);
    (archive, lock)
}

async fn content(archive: &FakeArchive, lock: &Lock) -> Result<Vec<u8>, DownloadError> {
    let files = fetch(lock, &archive.fetcher(), &|_| ()).await?;
    Ok(fs::read(&files[0].path).unwrap())
}

#[tokio::test]
async fn what_is_in_the_cache_is_not_asked_for() {
    let (archive, lock) = start().await;
    assert_eq!(content(&archive, &lock).await.unwrap(), CONTENT);
    archive.server.remove(PATH);
    assert_eq!(content(&archive, &lock).await.unwrap(), CONTENT);
    assert_eq!(archive.server.requests(PATH), [None]);
}

#[tokio::test]
async fn a_damaged_file_in_the_cache_is_downloaded_again() {
    let (archive, lock) = start().await;
    let path = archive.cache().package(&lock.packages[0].digest);
    for damaged in [&b"short"[..], &[b'x'; CONTENT.len()]] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(content(&archive, &lock).await.unwrap(), CONTENT);
        assert_eq!(archive.server.requests(PATH), [None]);
    }
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_was_cut() {
    let (archive, lock) = start().await;
    archive
        .server
        .fail(PATH, &[Fault::Cut(10), Fault::Status(502), Fault::Cut(5)]);
    assert_eq!(content(&archive, &lock).await.unwrap(), CONTENT);
    assert_eq!(
        archive.server.requests(PATH),
        [None, Some(10), Some(10), Some(15)]
    );
}

#[tokio::test]
async fn a_server_that_knows_no_parts_sends_it_all_again() {
    let (archive, lock) = start().await;
    archive.server.fail(PATH, &[Fault::Cut(10), Fault::Whole]);
    let arrived = Mutex::new(0);
    let progress = |activity: Activity<'_>| {
        if let Activity::Bytes(bytes) = activity {
            *arrived.lock().unwrap() += bytes;
        }
    };
    let files = fetch(&lock, &archive.fetcher(), &progress).await.unwrap();
    assert_eq!(fs::read(&files[0].path).unwrap(), CONTENT);
    assert_eq!(
        *arrived.lock().unwrap(),
        CONTENT.len() as i64,
        "nothing counts twice"
    );
}

#[tokio::test]
async fn a_part_of_other_content_is_noticed_and_fetched_anew() {
    let (archive, lock) = start().await;
    archive
        .server
        .fail(PATH, &[Fault::Other(vec![b'x'; CONTENT.len()])]);
    assert_eq!(content(&archive, &lock).await.unwrap(), CONTENT);
    assert_eq!(archive.server.requests(PATH), [None, None]);
}

#[tokio::test]
async fn content_with_another_hash_or_size_is_refused() {
    let (archive, lock) = start().await;
    let longer = [CONTENT, b"!"].concat();
    for other in [vec![b'x'; CONTENT.len()], longer] {
        archive.server.put(PATH, other);
        let refused = content(&archive, &lock).await.unwrap_err();
        assert!(refused.hint().is_some_and(|hint| hint.contains("proxy")));
        assert!(
            matches!(
                refused,
                DownloadError::Fetch {
                    source: FetchError::Mismatch { .. },
                    ..
                }
            ),
            "{refused:?}"
        );
    }
    archive.server.put(PATH, &CONTENT[..20]);
    let refused = content(&archive, &lock).await.unwrap_err();
    assert!(
        matches!(refused, DownloadError::Fetch { .. }),
        "{refused:?}"
    );
    let pool = archive.folder.path().join("cache/pool");
    assert_eq!(
        fs::read_dir(pool).unwrap().count(),
        0,
        "nothing of it is kept"
    );
    assert_eq!(
        fs::read_dir(archive.folder.path().join("cache/tmp"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn a_package_that_is_gone_is_explained() {
    let (archive, lock) = start().await;
    archive.server.remove(PATH);
    let refused = content(&archive, &lock).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the archive no longer has app 1:1.0+b1, which the lock file names"
    );
    assert!(
        refused
            .hint()
            .unwrap()
            .contains("stackctl build --update-packages")
    );
    assert_eq!(archive.server.requests(PATH).len(), 1, "once is enough");
}

#[tokio::test]
async fn many_packages_come_in_the_order_of_the_lock() {
    let archive = FakeArchive::start().await;
    let contents: Vec<String> = (0..40).map(|number| format!("content {number}")).collect();
    let packages = contents.iter().enumerate().map(|(number, content)| {
        archive
            .server
            .put(&format!("pool/p{number:02}.deb"), content.as_bytes());
        locked(&format!("p{number:02}"), content.as_bytes())
    });
    let lock = lock(&archive.server.uri, packages.collect());
    let events = Mutex::new(Vec::new());
    let progress = |activity: Activity<'_>| match activity {
        Activity::Missing { packages, size } => {
            events.lock().unwrap().push(format!("{packages} {size}"))
        }
        Activity::Package { .. } => events.lock().unwrap().push("done".to_owned()),
        _ => {}
    };
    let files = fetch(&lock, &archive.fetcher(), &progress).await.unwrap();
    for (file, content) in files.iter().zip(&contents) {
        assert_eq!(&fs::read_to_string(&file.path).unwrap(), content);
    }
    let events = events.into_inner().unwrap();
    // 10 of `content N` and 30 of `content NN`
    assert_eq!(events[0], format!("40 {}", 10 * 9 + 30 * 10));
    assert_eq!(events.iter().filter(|event| *event == "done").count(), 40);
}

#[tokio::test]
async fn processes_that_download_the_same_do_not_disturb_each_other() {
    let (archive, lock) = start().await;
    let fetchers: Vec<_> = (0..8).map(|_| archive.fetcher()).collect();
    let all = fetchers
        .iter()
        .map(|fetcher| fetch(&lock, fetcher, &|_| ()));
    for files in futures_util::future::join_all(all).await {
        assert_eq!(fs::read(&files.unwrap()[0].path).unwrap(), CONTENT);
    }
}
