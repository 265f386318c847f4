//! Blobs and manifests to a registry.

use std::sync::Arc;

use bytes::Bytes;
use oci_image::registry::{BlobSource, Client, ErrorKind, OpenFuture, Outcome, RegistryError};
use oci_image::{Descriptor, Digest, Manifest, Reference, media_type};

use crate::server::{Fault, Heard, Server, client, content};

async fn push(client: &Client, to: &Reference, bytes: &[u8]) -> Result<Outcome, RegistryError> {
    let blob = Descriptor::of(media_type::LAYER, bytes);
    let source = Arc::new(Bytes::copy_from_slice(bytes));
    client.push_blob(to, &blob, source).await
}

fn methods(server: &Server) -> Vec<String> {
    let first = |line: &String| line.split(' ').next().unwrap().to_owned();
    server.requests().iter().map(first).collect()
}

#[tokio::test]
async fn a_small_blob_is_sent_at_once() {
    let server = Server::start().await;
    for absolute in [true, false] {
        server.set(|settings| settings.absolute_locations = absolute);
        let bytes = content(999 + usize::from(absolute));
        let outcome = push(&client(), &server.reference("team/a"), &bytes)
            .await
            .unwrap();
        assert_eq!(outcome, Outcome::Uploaded);
        assert_eq!(server.blob("team/a", Digest::of(&bytes)).unwrap(), bytes);
    }
    assert_eq!(
        methods(&server),
        ["HEAD", "POST", "PUT", "HEAD", "POST", "PUT"]
    );
    let put = &server.seen("PUT", "uploads")[0];
    assert_eq!(put.header("content-length"), Some("1000"));
    assert!(
        put.query.starts_with("_state=a%2Fb%3D0&digest=sha256"),
        "{}",
        put.query
    );
}

#[tokio::test]
async fn an_empty_blob_is_sent_too() {
    let server = Server::start().await;
    push(&client(), &server.reference("a"), b"").await.unwrap();
    assert_eq!(server.blob("a", Digest::of(b"")).unwrap(), "");
}

#[tokio::test]
async fn a_large_blob_is_sent_in_chunks() {
    let server = Server::start().await;
    let heard = Arc::new(Heard::default());
    let client = client().observed(heard.clone());
    push(&client, &server.reference("a"), &content(2500))
        .await
        .unwrap();
    assert_eq!(
        methods(&server),
        ["HEAD", "POST", "PATCH", "PATCH", "PATCH", "PUT"]
    );
    let seen = server.seen("PATCH", "");
    let ranges: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("content-range").unwrap())
        .collect();
    assert_eq!(ranges, ["0-999", "1000-1999", "2000-2499"]);
    let heard = heard.all();
    let last = heard.last().unwrap();
    assert_eq!((last.done, last.size), (2500, 2500));
    assert_eq!(last.outcome, Some(Outcome::Uploaded));
}

#[tokio::test]
async fn chunks_are_as_large_as_the_registry_wants() {
    let server = Server::start().await;
    server.set(|settings| settings.least_chunk = Some(2000));
    push(&client(), &server.reference("a"), &content(4500))
        .await
        .unwrap();
    let seen = server.seen("PATCH", "");
    let ranges: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("content-range").unwrap())
        .collect();
    assert_eq!(ranges, ["0-1999", "2000-3999", "4000-4499"]);
    // smaller than one chunk of that registry
    push(&client(), &server.reference("a"), &content(1500))
        .await
        .unwrap();
    assert_eq!(server.seen("PATCH", "").len(), 3);
}

#[tokio::test]
async fn a_registry_without_chunks_gets_all_at_once() {
    let server = Server::start().await;
    server.set(|settings| settings.takes_chunks = false);
    push(&client(), &server.reference("a"), &content(5000))
        .await
        .unwrap();
    assert_eq!(methods(&server), ["HEAD", "POST", "PATCH", "POST", "PUT"]);
    assert_eq!(
        server.blob("a", Digest::of(&content(5000))).unwrap(),
        content(5000)
    );
}

#[tokio::test]
async fn what_is_there_is_not_sent() {
    let server = Server::start().await;
    server.put_blob("a", &content(10));
    let outcome = push(&client(), &server.reference("a"), &content(10))
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Existing);
    assert_eq!(methods(&server), ["HEAD"]);
}

#[tokio::test]
async fn what_another_repository_has_is_mounted() {
    let server = Server::start().await;
    let client = client();
    push(&client, &server.reference("base"), &content(10))
        .await
        .unwrap();
    let outcome = push(&client, &server.reference("a"), &content(10))
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Mounted);
    assert_eq!(methods(&server)[3..], ["HEAD", "POST"]);
    let digest = Digest::of(&content(10));
    let mount = &server.seen("POST", "/v2/a/")[0];
    assert!(mount.query.contains("from=base"), "{}", mount.query);
    assert!(server.blob("a", digest).is_some());
}

#[tokio::test]
async fn a_mount_that_is_declined_goes_on_as_an_upload() {
    let server = Server::start().await;
    server.set(|settings| settings.mounts = false);
    let client = client();
    let digest = Digest::of(&content(10));
    client.saw(&server.reference("base"), &[digest]).unwrap();
    let outcome = push(&client, &server.reference("a"), &content(10))
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Uploaded);
    assert_eq!(methods(&server), ["HEAD", "POST", "PUT"]);
}

#[tokio::test]
async fn a_mount_that_is_refused_becomes_an_upload() {
    let server = Server::start().await;
    let refusal = r#"{"errors":[{"code":"UNSUPPORTED","message":"no mounts"}]}"#.to_owned();
    server.fault("POST", "uploads", 1, Fault::Answer(405, vec![], refusal));
    let client = client();
    let digest = Digest::of(&content(10));
    client.saw(&server.reference("base"), &[digest]).unwrap();
    let outcome = push(&client, &server.reference("a"), &content(10))
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Uploaded);
    assert_eq!(methods(&server), ["HEAD", "POST", "POST", "PUT"]);
}

#[tokio::test]
async fn two_pushes_of_one_blob_send_it_once() {
    let server = Server::start().await;
    let client = client();
    let (one, other) = (server.reference("one"), server.reference("other"));
    let bytes = content(5000);
    let (one, other) = tokio::join!(push(&client, &one, &bytes), push(&client, &other, &bytes));
    assert_eq!(
        (one.unwrap(), other.unwrap()),
        (Outcome::Uploaded, Outcome::Mounted)
    );
}

#[tokio::test]
async fn a_chunk_that_is_cut_is_gone_on_with() {
    let server = Server::start().await;
    server.fault("PATCH", "", 1, Fault::CutUpload(600));
    let outcome = push(&client(), &server.reference("a"), &content(2500))
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Uploaded);
    let seen = server.seen("PATCH", "");
    let ranges: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("content-range").unwrap())
        .collect();
    assert_eq!(ranges, ["0-999", "600-1599", "1600-2499"]);
    assert_eq!(
        server.blob("a", Digest::of(&content(2500))).unwrap(),
        content(2500)
    );
    assert_eq!(server.seen("POST", "").len(), 1);
}

#[tokio::test]
async fn a_small_blob_that_is_cut_is_gone_on_with_as_a_chunk() {
    let server = Server::start().await;
    server.fault("PUT", "uploads", 1, Fault::CutUpload(600));
    push(&client(), &server.reference("a"), &content(1000))
        .await
        .unwrap();
    assert_eq!(
        server.seen("PATCH", "")[0].header("content-range"),
        Some("600-999")
    );
    assert_eq!(
        server.blob("a", Digest::of(&content(1000))).unwrap(),
        content(1000)
    );
}

#[tokio::test]
async fn a_registry_that_forgets_uploads_gets_them_anew() {
    let server = Server::start().await;
    server.set(|settings| settings.tells_status = false);
    server.fault("PATCH", "", 2, Fault::CutUpload(600));
    push(&client(), &server.reference("a"), &content(2500))
        .await
        .unwrap();
    assert_eq!(server.seen("POST", "").len(), 3);
    assert_eq!(
        server.blob("a", Digest::of(&content(2500))).unwrap(),
        content(2500)
    );
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for() {
    let server = Server::start().await;
    server.fault("PUT", "uploads", 1, Fault::CutAnswer);
    push(&client(), &server.reference("a"), &content(100))
        .await
        .unwrap();
    assert_eq!(methods(&server), ["HEAD", "POST", "PUT", "HEAD"]);
}

#[tokio::test]
async fn more_cuts_than_tries_are_borne_while_it_moves() {
    let server = Server::start().await;
    server.fault("PATCH", "", 12, Fault::CutUpload(300));
    push(&client(), &server.reference("a"), &content(5000))
        .await
        .unwrap();
    assert_eq!(
        server.blob("a", Digest::of(&content(5000))).unwrap(),
        content(5000)
    );
    // and where it does not move, there is an end
    server.fault("PATCH", "", 100, Fault::CutUpload(0));
    let error = push(&client(), &server.reference("a"), &content(6000))
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unreachable);
    assert_eq!(server.seen("PATCH", "").len(), 12 + 2 + 5);
}

#[tokio::test]
async fn a_registry_that_lets_no_upload_begin_is_asked_no_more_often_than_any_other() {
    let server = Server::start().await;
    server.fault("POST", "", 100, Fault::CutAnswer);
    let error = push(&client(), &server.reference("a"), &content(10))
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unreachable);
    assert_eq!(server.seen("POST", "").len(), 1 + 4);
}

#[tokio::test]
async fn a_registry_that_got_something_else_says_so() {
    let server = Server::start().await;
    let blob = Descriptor::new(media_type::LAYER, Digest::of(b"other"), 10);
    let source = Arc::new(Bytes::from(content(10)));
    let error = client()
        .push_blob(&server.reference("a"), &blob, source)
        .await
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Digest { expected, .. } if *expected == blob.digest));
    assert_eq!(error.said()[0].code, "DIGEST_INVALID");

    let fault = Fault::Header("docker-content-digest", Digest::of(b"x").to_string());
    server.fault("PUT", "uploads", 1, fault);
    let error = push(&client(), &server.reference("a"), &content(10))
        .await
        .unwrap_err();
    let expected = ErrorKind::Digest {
        expected: Digest::of(&content(10)),
        actual: Digest::of(b"x").to_string(),
    };
    assert_eq!(*error.kind(), expected);
}

#[tokio::test]
async fn a_source_that_is_too_short_is_our_fault() {
    struct Broken;
    impl BlobSource for Broken {
        fn open(&self, _offset: u64) -> OpenFuture<'_> {
            Box::pin(async { Err(std::io::Error::other("no such layer")) })
        }
    }
    let server = Server::start().await;
    let blob = Descriptor::of(media_type::LAYER, &content(10));
    let short: Arc<dyn BlobSource> = Arc::new(Bytes::from(content(9)));
    let broken: Arc<dyn BlobSource> = Arc::new(Broken);
    for (source, cause) in [(short, "shorter"), (broken, "no such layer")] {
        let error = client()
            .push_blob(&server.reference("a"), &blob, source)
            .await
            .unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Local);
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(cause), "{source}");
    }
    assert_eq!(server.seen("POST", "").len(), 2, "not tried again");
}

#[tokio::test]
async fn a_refusal_says_why_and_is_final() {
    for (status, code, kind) in [
        (403, "DENIED", ErrorKind::Denied),
        (413, "SIZE_INVALID", ErrorKind::TooLarge),
    ] {
        let server = Server::start().await;
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#);
        server.fault("PUT", "uploads", 1, Fault::Answer(status, vec![], body));
        let error = push(&client(), &server.reference("a"), &content(10))
            .await
            .unwrap_err();
        assert_eq!(*error.kind(), kind);
        assert_eq!(error.said()[0].code, code);
        assert_eq!(methods(&server), ["HEAD", "POST", "PUT"]);
    }
}

#[tokio::test]
async fn a_push_that_is_dropped_is_over() {
    let server = Server::start().await;
    server.fault("PATCH", "", 1, Fault::Silence);
    let (client, place) = (client(), server.reference("a"));
    let bytes = content(5000);
    let dropped = push(&client, &place, &bytes);
    let short = std::time::Duration::from_millis(100);
    assert!(tokio::time::timeout(short, dropped).await.is_err());
    let before = server.requests().len();
    tokio::time::sleep(short).await;
    assert_eq!(server.requests().len(), before);
    // and nothing is held that the next one needs
    push(&client, &place, &bytes).await.unwrap();
}

fn image(server: &Server, repository: &str) -> Bytes {
    server.put_blob(repository, b"{}");
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    Manifest::image(config, Vec::new()).to_json().into()
}

#[tokio::test]
async fn a_manifest_is_written_under_its_tag_or_its_digest() {
    let server = Server::start().await;
    let image = image(&server, "a");
    let digest = Digest::of(&image);
    for name in ["a:1".to_owned(), "a".to_owned(), format!("a:2@{digest}")] {
        let to = server.reference(&name);
        let client = client();
        let pushed = client
            .push_manifest(&to, media_type::MANIFEST, image.clone())
            .await
            .unwrap();
        assert_eq!(
            pushed.descriptor,
            Descriptor::of(media_type::MANIFEST, &image)
        );
        assert!(!pushed.lists_referrers);
    }
    let expected = ["1".to_owned(), digest.to_string(), "2".to_owned()];
    let expected = expected.map(|version| format!("PUT /v2/a/manifests/{version}"));
    assert_eq!(server.requests(), expected);
    assert_eq!(server.manifest("a", "1").unwrap(), image);
}

#[tokio::test]
async fn a_manifest_that_became_another_is_told() {
    let server = Server::start().await;
    let image = image(&server, "a");
    let fault = Fault::Header("docker-content-digest", Digest::of(b"x").to_string());
    server.fault("PUT", "manifests", 1, fault);
    let to = server.reference("a:1");
    let error = client()
        .push_manifest(&to, media_type::MANIFEST, image.clone())
        .await
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Digest { .. }), "{error}");

    let pinned = server.reference("a:1").pinned(Digest::of(b"x"));
    let error = client()
        .push_manifest(&pinned, media_type::MANIFEST, image)
        .await
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Digest { .. }), "{error}");
    assert_eq!(server.requests().len(), 1, "the second one is not sent");
}

#[tokio::test]
async fn a_manifest_without_its_blobs_is_refused() {
    let server = Server::start().await;
    let config = Descriptor::of(media_type::CONFIG, b"absent");
    let image = Manifest::image(config, Vec::new()).to_json();
    let error = client()
        .push_manifest(&server.reference("a:1"), media_type::MANIFEST, image.into())
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NotFound);
    assert_eq!(error.said()[0].code, "MANIFEST_BLOB_UNKNOWN");
}
