//! Manifests and blobs from a registry.

use std::sync::Arc;

use bytes::Bytes;
use oci_image::registry::{Client, Document, ErrorKind, Outcome, RegistryError};
use oci_image::{Descriptor, Digest, Index, Manifest, Reference, media_type};

use crate::server::{Fault, Heard, Server, client, content};

fn image() -> Vec<u8> {
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    Manifest::image(config, Vec::new()).to_json()
}

async fn read(
    client: &Client,
    reference: &Reference,
    blob: &Descriptor,
) -> Result<Vec<u8>, RegistryError> {
    let mut reader = client.pull_blob(reference, blob).await?;
    let mut found = Vec::new();
    while let Some(piece) = reader.next().await? {
        found.extend_from_slice(&piece);
    }
    Ok(found)
}

#[tokio::test]
async fn a_manifest_comes_by_tag_and_by_digest() {
    let server = Server::start().await;
    let digest = server.put_manifest(("team/a", "1.0"), media_type::MANIFEST, &image());
    let tagged = server.reference("team/a:1.0");
    let found = client().manifest(&tagged).await.unwrap();
    assert_eq!(
        found.descriptor,
        Descriptor::of(media_type::MANIFEST, &image())
    );
    assert_eq!(found.bytes, image());
    assert!(matches!(found.document, Document::Image(_)));
    let pinned = client().manifest(&tagged.pinned(digest)).await.unwrap();
    assert_eq!(pinned.descriptor, found.descriptor);
    assert!(server.requests()[1].ends_with(&digest.to_string()));
    let accept = server.seen("GET", "manifests")[0]
        .header("accept")
        .unwrap()
        .to_owned();
    for media_type in [
        media_type::MANIFEST,
        media_type::INDEX,
        media_type::DOCKER_MANIFEST,
        media_type::DOCKER_INDEX,
    ] {
        assert!(accept.contains(media_type), "{accept}");
    }
}

#[tokio::test]
async fn an_index_is_read_as_one() {
    let server = Server::start().await;
    let index = Index::new(vec![Descriptor::of(media_type::MANIFEST, &image())]);
    server.put_manifest(("a", "1"), media_type::INDEX, &index.to_json());
    let found = client().manifest(&server.reference("a:1")).await.unwrap();
    assert_eq!(found.document, Document::Index(index));
}

#[tokio::test]
async fn whether_a_manifest_is_there_takes_one_question() {
    let server = Server::start().await;
    server.put_manifest(("a", "1"), media_type::MANIFEST, &image());
    let expected = Descriptor::of(media_type::MANIFEST, &image());
    let client = client();
    let found = client
        .head_manifest(&server.reference("a:1"))
        .await
        .unwrap();
    assert_eq!(found, Some(expected.clone()));
    let absent = client
        .head_manifest(&server.reference("a:2"))
        .await
        .unwrap();
    assert_eq!(absent, None);
    assert_eq!(
        server.requests(),
        ["HEAD /v2/a/manifests/1", "HEAD /v2/a/manifests/2"]
    );
    // a registry that leaves the digest out of the headers
    let fault = Fault::Header("docker-content-digest", String::new());
    server.fault("HEAD", "manifests", 1, fault);
    let found = client
        .head_manifest(&server.reference("a:1"))
        .await
        .unwrap();
    assert_eq!(found, Some(expected));
    assert_eq!(server.requests()[3], "GET /v2/a/manifests/1");
}

#[tokio::test]
async fn a_manifest_that_is_another_is_refused() {
    let server = Server::start().await;
    let digest = server.put_manifest(("a", "1"), media_type::MANIFEST, &image());
    let other = Digest::of(b"other");
    let header = Fault::Header("docker-content-digest", other.to_string());
    server.fault("GET", "manifests", 1, header);
    let error = client()
        .manifest(&server.reference("a:1"))
        .await
        .unwrap_err();
    let expected = ErrorKind::Digest {
        expected: other,
        actual: digest.to_string(),
    };
    assert_eq!(*error.kind(), expected);

    let mut changed = image();
    changed.push(b' ');
    server.fault("GET", "manifests", 1, Fault::Body(changed.clone().into()));
    let pinned = server.reference("a").pinned(digest);
    let error = client().manifest(&pinned).await.unwrap_err();
    let expected = ErrorKind::Digest {
        expected: digest,
        actual: Digest::of(&changed).to_string(),
    };
    assert_eq!(*error.kind(), expected);
}

#[tokio::test]
async fn a_manifest_has_a_bound() {
    let server = Server::start().await;
    server.put_manifest(("a", "1"), media_type::MANIFEST, &image());
    let large = Bytes::from(vec![b' '; 4 * 1024 * 1024 + 1]);
    server.fault("GET", "manifests", 1, Fault::Body(large));
    let error = client()
        .manifest(&server.reference("a:1"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("larger than 4194304 bytes"),
        "{error}"
    );
}

#[tokio::test]
async fn a_page_for_browsers_is_no_manifest() {
    let server = Server::start().await;
    let page = "<html><title>Log in</title></html>".to_owned();
    let headers = vec![("content-type", "text/html".to_owned())];
    server.fault("GET", "manifests", 1, Fault::Answer(200, headers, page));
    let error = client()
        .manifest(&server.reference("a:1"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is it a registry?"), "{error}");
}

#[tokio::test]
async fn a_blob_comes_and_is_told() {
    let server = Server::start().await;
    let blob = server.put_blob("a", &content(300_000));
    let heard = Arc::new(Heard::default());
    let client = client().observed(heard.clone());
    let found = read(&client, &server.reference("a"), &blob).await.unwrap();
    assert_eq!(found, content(300_000));
    let heard = heard.all();
    let last = heard.last().unwrap();
    assert_eq!(
        (last.done, last.outcome),
        (300_000, Some(Outcome::Downloaded))
    );
    assert!(heard.is_sorted_by_key(|transfer| transfer.done));

    let empty = server.put_blob("a", b"");
    assert_eq!(
        read(&client, &server.reference("a"), &empty).await.unwrap(),
        b""
    );
}

#[tokio::test]
async fn a_blob_that_is_cut_is_gone_on_with() {
    for has_ranges in [true, false] {
        let server = Server::start().await;
        server.set(|settings| settings.has_ranges = has_ranges);
        let blob = server.put_blob("a", &content(100_000));
        // more cuts than tries: each one moved the blob on
        for cut in 1..8 {
            let bytes = if has_ranges { 10_000 } else { cut * 10_000 };
            server.fault("GET", "blobs", 1, Fault::CutDownload(bytes));
        }
        let found = read(&client(), &server.reference("a"), &blob)
            .await
            .unwrap();
        assert_eq!(found, content(100_000));
        let seen = server.seen("GET", "blobs");
        assert_eq!(seen.len(), 8);
        assert_eq!(seen[0].header("range"), None);
        assert!(seen[7].header("range").unwrap().starts_with("bytes="));
    }
}

#[tokio::test]
async fn a_blob_that_ends_early_is_gone_on_with_as_often_as_allowed() {
    let server = Server::start().await;
    let blob = server.put_blob("a", &content(5000));
    let start = Bytes::from(content(2000));
    server.fault("GET", "blobs", 1, Fault::Body(start));
    let found = read(&client(), &server.reference("a"), &blob)
        .await
        .unwrap();
    assert_eq!(found, content(5000));
    server.fault("GET", "blobs", 100, Fault::Body(Bytes::new()));
    let error = read(&client(), &server.reference("a"), &blob)
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unreachable);
    assert_eq!(server.seen("GET", "blobs").len(), 2 + 5);
}

#[tokio::test]
async fn a_blob_that_is_another_is_refused() {
    let server = Server::start().await;
    let blob = server.put_blob("a", &content(5000));
    let mut other = content(5000);
    other[4999] ^= 1;
    server.fault("GET", "blobs", 1, Fault::Body(other.clone().into()));
    let error = read(&client(), &server.reference("a"), &blob)
        .await
        .unwrap_err();
    let expected = ErrorKind::Digest {
        expected: blob.digest,
        actual: Digest::of(&other).to_string(),
    };
    assert_eq!(*error.kind(), expected);

    other.push(0);
    server.fault("GET", "blobs", 1, Fault::Body(other.into()));
    let error = read(&client(), &server.reference("a"), &blob)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("larger than the 5000 bytes"),
        "{error}"
    );

    let claimed = Descriptor::new(&blob.media_type, blob.digest, 4999);
    let error = read(&client(), &server.reference("a"), &claimed)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("5000 bytes instead of 4999"),
        "{error}"
    );
}

#[tokio::test]
async fn a_part_that_is_another_is_refused() {
    let server = Server::start().await;
    let blob = server.put_blob("a", &content(5000));
    server.fault("GET", "blobs", 1, Fault::CutDownload(1000));
    let wrong = Fault::Header("content-range", "bytes 1001-4999/5000".to_owned());
    server.fault("GET", "blobs", 1, wrong);
    let error = read(&client(), &server.reference("a"), &blob)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("another part"), "{error}");
}

#[tokio::test]
async fn blobs_take_turns() {
    let server = Server::start().await;
    let blob = server.put_blob("a", &content(50));
    let options = oci_image::registry::Options {
        concurrent_blobs: 1,
        ..crate::server::options()
    };
    let client = Client::new(options);
    let place = server.reference("a");
    let first = client.pull_blob(&place, &blob).await.unwrap();
    let second = client.pull_blob(&place, &blob);
    let waits = tokio::time::timeout(std::time::Duration::from_millis(50), second).await;
    assert!(waits.is_err());
    drop(first);
    assert_eq!(read(&client, &place, &blob).await.unwrap(), content(50));
}
