//! Resolving against an archive that is honest, broken, or hostile.

use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::fake::{FakeArchive, Fault, INDEX, Signer, by_hash};
use crate::lock::LockFile;
use crate::request::{RequestError, resolve};

const RELEASE: &str = "dists/bookworm/InRelease";

async fn archive() -> FakeArchive {
    let archive = FakeArchive::start()
        .await
        .with(
            "Package: app\nVersion: 1.0\nDepends: lib (>= 2), perl",
            b"app",
        )
        .with("Package: lib\nVersion: 2.0\nSource: libs (1.9)", b"lib")
        .with("Package: perl\nVersion: 5", b"perl");
    archive.publish();
    archive
}

async fn names(archive: &FakeArchive) -> Result<Vec<String>, RequestError> {
    let lock = resolve(&archive.request(&["app"]), &archive.fetcher(), &|_| ()).await?;
    Ok(lock
        .packages
        .into_iter()
        .map(|package| package.name)
        .collect())
}

/// The whole chain of causes.
async fn refusal(archive: &FakeArchive) -> String {
    let mut error: Box<dyn std::error::Error> = names(archive).await.unwrap_err().into();
    let mut text = error.to_string();
    while let Some(source) = error.source() {
        text.push_str(&format!(": {source}"));
        let message = source.to_string();
        let next = source.source().map(ToString::to_string);
        error = match next {
            Some(next) => format!("{message}: {next}").into(),
            None => break,
        };
    }
    text
}

#[tokio::test]
async fn a_request_becomes_a_lock() {
    let archive = archive().await;
    let mut request = archive.request(&["app"]);
    request.exclude.insert("perl".to_owned());
    let lock = resolve(&request, &archive.fetcher(), &|_| ())
        .await
        .unwrap();
    let packages: Vec<_> = lock
        .packages
        .iter()
        .map(|p| format!("{} {} {}", p.name, p.version, p.source.name))
        .collect();
    assert_eq!(packages, ["app 1.0 app", "lib 2.0 libs"]);
    assert_eq!(lock.left_out[0].name, "perl");
    assert_eq!(lock.left_out[0].needed_by, ["app"]);
    assert_eq!(lock.request, request.digest());
    assert_eq!(lock.suites[0].uri, archive.server.uri);
    let file = LockFile {
        locks: [("amd64".to_owned(), lock)].into(),
    };
    assert_eq!(file.to_string().parse::<LockFile>().unwrap(), file);
    request.exclude.insert("app".to_owned());
    let refused = resolve(&request, &archive.fetcher(), &|_| ())
        .await
        .unwrap_err();
    assert!(matches!(refused, RequestError::Excluded(name) if name == "app"));
}

#[tokio::test]
async fn an_index_is_downloaded_once() {
    let archive = archive().await;
    names(&archive).await.unwrap();
    archive.server.remove(&format!("dists/bookworm/{INDEX}"));
    for path in archive
        .server
        .paths()
        .iter()
        .filter(|path| path.contains("by-hash"))
    {
        archive.server.remove(path);
    }
    assert_eq!(names(&archive).await.unwrap(), ["app", "lib", "perl"]);
}

#[tokio::test]
async fn text_that_is_not_signed_is_not_read() {
    let archive = archive().await;
    let good = archive.signer.sign(&archive.release(b"x"));
    let other = Signer::new().sign(&archive.release(b"x"));
    let unsigned = archive.release(b"x");
    let changed = good.replacen("Suite: bookworm", "Suite: Bookworm", 1);
    let before = format!("Suite: evil\n\n{good}");
    let behind = format!("{good}\nSuite: evil\n");
    let twice = format!("{good}{good}");
    for (what, content) in [
        ("another key", other),
        ("unsigned", unsigned),
        ("changed", changed),
        ("text before", before),
        ("text behind", behind),
        ("two messages", twice),
        ("cut off", good[..good.len() / 2].to_owned()),
        ("an error page", "<html>please log in</html>".to_owned()),
        ("empty", String::new()),
    ] {
        archive.server.put(RELEASE, content);
        let text = refusal(&archive).await;
        assert!(text.contains("cannot be trusted"), "{what}: {text}");
    }
    archive.publish();
    assert!(names(&archive).await.is_ok());
}

#[tokio::test]
async fn who_signed_is_named() {
    let archive = archive().await;
    let other = Signer::new();
    archive
        .server
        .put(RELEASE, other.sign(&archive.release(b"x")));
    let text = refusal(&archive).await;
    let fingerprint = {
        use pgp::types::KeyDetails;
        other.key.secret_subkeys[0].key.fingerprint().to_string()
    };
    assert!(
        text.contains(&format!("it is signed by {fingerprint}")),
        "{text}"
    );
}

#[tokio::test]
async fn a_signature_on_bytes_is_as_good_as_one_on_text() {
    use pgp::packet::SignatureType;
    let archive = archive().await;
    let release = archive.release(b"x");
    let binary = archive.signer.sign_as(&release, SignatureType::Binary);
    archive.server.put(RELEASE, binary);
    let text = refusal(&archive).await;
    assert!(
        text.contains("is not what the signed index announces"),
        "trusted, with another index: {text}"
    );
}

#[tokio::test]
async fn old_and_foreign_indices_are_refused() {
    let mut archive = archive().await;
    archive.date = Timestamp::now() - SignedDuration::from_hours(48);
    archive.valid_until = Some(Timestamp::now() - SignedDuration::from_hours(24));
    archive.publish();
    assert!(refusal(&archive).await.contains("expired on"));
    let mut request = archive.request(&["app"]);
    request.sources[0].check_valid_until = false;
    assert!(
        resolve(&request, &archive.fetcher(), &|_| ()).await.is_ok(),
        "a snapshot"
    );
    archive.valid_until = None;
    archive.date = Timestamp::now() + SignedDuration::from_hours(2);
    archive.publish();
    assert!(refusal(&archive).await.contains("is the clock right?"));
    archive.date = Timestamp::now();
    archive.suite = "bullseye";
    archive.publish();
    assert!(refusal(&archive).await.contains("is signed as `bullseye`"));
}

#[tokio::test]
async fn an_archive_does_not_go_back() {
    let mut archive = archive().await;
    names(&archive).await.unwrap();
    archive.date = Timestamp::now() - SignedDuration::from_hours(48);
    archive = archive.with("Package: lib\nVersion: 9.0", b"evil");
    archive.publish();
    let lock = resolve(&archive.request(&["lib"]), &archive.fetcher(), &|_| ())
        .await
        .unwrap();
    assert_eq!(
        lock.packages[0].version.as_str(),
        "2.0",
        "the newer index is used"
    );
    archive.date = Timestamp::now() + SignedDuration::from_secs(5);
    archive.publish();
    let lock = resolve(&archive.request(&["lib"]), &archive.fetcher(), &|_| ())
        .await
        .unwrap();
    assert_eq!(lock.packages[0].version.as_str(), "9.0");
}

#[tokio::test]
async fn an_index_that_is_not_what_was_signed_is_refused() {
    let archive = archive().await;
    let paths: Vec<_> = archive
        .server
        .paths()
        .into_iter()
        .filter(|path| path.contains("binary-amd64"))
        .collect();
    for path in &paths {
        archive.server.put(path, b"something else".to_vec());
    }
    assert!(
        refusal(&archive)
            .await
            .contains("is not what the signed index announces")
    );
}

#[tokio::test]
async fn a_mirror_without_folders_of_hashes_does() {
    let archive = archive().await;
    for path in archive
        .server
        .paths()
        .iter()
        .filter(|path| path.contains("by-hash"))
    {
        archive.server.remove(path);
    }
    assert!(names(&archive).await.is_ok());
    let other = self::archive().await;
    for path in other
        .server
        .paths()
        .iter()
        .filter(|path| path.contains("binary-amd64"))
    {
        other.server.remove(path);
    }
    assert!(refusal(&other).await.contains("is not there (404)"));
}

#[tokio::test]
async fn a_missing_suite_key_or_component_is_named() {
    let archive = archive().await;
    let mut request = archive.request(&["app"]);
    request.sources[0].components = vec!["contrib".to_owned()];
    let message = async |request: &crate::Request| {
        resolve(request, &archive.fetcher(), &|_| ())
            .await
            .unwrap_err()
            .to_string()
    };
    assert!(
        message(&request)
            .await
            .contains("has no component `contrib`; it has main")
    );
    let mut request = archive.request(&["app"]);
    request.sources[0].suites = vec!["trixie".to_owned()];
    assert!(
        message(&request)
            .await
            .contains("dists/trixie/InRelease is not there (404)")
    );
    request.sources[0].keyring = archive.folder.path().join("nothing.gpg");
    assert!(
        message(&request)
            .await
            .contains("install the package `debian-archive-keyring`")
    );
}

#[tokio::test]
async fn stumbling_servers_are_asked_again_and_refusing_ones_are_not() {
    let archive = archive().await;
    archive.server.fail(
        RELEASE,
        &[Fault::Status(503), Fault::Cut(20), Fault::Status(429)],
    );
    assert!(names(&archive).await.is_ok());
    assert_eq!(archive.server.requests(RELEASE).len(), 4);
    archive.server.fail(RELEASE, &[Fault::Status(403)]);
    assert!(refusal(&archive).await.contains("was answered with 403"));
    assert_eq!(archive.server.requests(RELEASE).len(), 1);
}

#[tokio::test]
async fn a_mirror_stands_in_for_the_archive_that_the_lock_names() {
    let archive = archive().await;
    let mut request = archive.request(&["app"]);
    request.sources[0].uri = "http://deb.invalid/debian".to_owned();
    let mut mirrors = Mirrors::default();
    mirrors.insert("http://deb.invalid/debian", &archive.server.uri);
    crate::fake::install_tls();
    let fetcher = Fetcher::with_pause(archive.cache(), mirrors, Duration::from_millis(1)).unwrap();
    let lock = resolve(&request, &fetcher, &|_| ()).await.unwrap();
    assert_eq!(lock.suites[0].uri, "http://deb.invalid/debian");
    assert_eq!(
        crate::fetch(&lock, &fetcher, &|_| ()).await.unwrap().len(),
        3
    );
    assert!(by_hash(b"").contains("by-hash"));
}
