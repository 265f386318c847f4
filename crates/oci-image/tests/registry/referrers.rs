//! Artifacts and what lists them, with the API and without.

use bytes::Bytes;
use oci_image::registry::{Client, RegistryError};
use oci_image::{Descriptor, Index, Manifest, Reference, media_type};

use crate::server::{Fault, Server, client};

const SBOM: &str = "application/spdx+json";

fn put_image(server: &Server) -> Descriptor {
    server.put_blob("a", b"{}");
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    let image = Manifest::image(config, Vec::new()).to_json();
    server.put_manifest(("a", "1"), media_type::MANIFEST, &image);
    Descriptor::of(media_type::MANIFEST, &image)
}

/// Attaches a document to an image, without a tag.
async fn push(
    client: &Client,
    (place, subject): (&Reference, &Descriptor),
    (kind, text): (&str, &str),
) -> Result<Descriptor, RegistryError> {
    let config = Descriptor::of(media_type::EMPTY, b"{}");
    let layer = Descriptor::of(kind, text.as_bytes());
    let manifest = Manifest {
        artifact_type: Some(kind.to_owned()),
        subject: Some(subject.clone()),
        annotations: [("made-by".to_owned(), "test".to_owned())].into(),
        ..Manifest::image(config.clone(), vec![layer.clone()])
    };
    let blobs = [
        (config, Bytes::from_static(b"{}")),
        (layer, Bytes::from(text.to_owned())),
    ];
    let place = format!("{}/{}", place.registry(), place.repository());
    client
        .push_referrer(&place.parse().unwrap(), &manifest, &blobs)
        .await
}

#[tokio::test]
async fn artifacts_are_listed_with_the_api_and_without() {
    for has_referrers in [true, false] {
        let server = Server::start().await;
        server.set(|settings| {
            settings.has_referrers = has_referrers;
            settings.referrers_per_page = 2;
        });
        let image = put_image(&server);
        let place = server.reference("a:1");
        let client = client();
        let mut pushed = Vec::new();
        for (kind, text) in [(SBOM, "1"), ("x/provenance", "2"), (SBOM, "3"), (SBOM, "4")] {
            let document = push(&client, (&place, &image), (kind, text)).await;
            pushed.push(document.unwrap());
        }
        let by_digest = |mut list: Vec<Descriptor>| {
            list.sort_by_key(|entry| entry.digest);
            list
        };
        let all = client.referrers(&place, image.digest, None).await.unwrap();
        assert_eq!(
            by_digest(all),
            by_digest(pushed.clone()),
            "API: {has_referrers}"
        );
        let sboms = client
            .referrers(&place, image.digest, Some(SBOM))
            .await
            .unwrap();
        pushed.remove(1);
        assert_eq!(by_digest(sboms), by_digest(pushed));
        let tag = format!("sha256-{}", image.digest.hex());
        assert_eq!(server.manifest("a", &tag).is_some(), !has_referrers);
    }
}

/// As cosign's are: the signature is an annotation of the layer, and a tag names it.
#[tokio::test]
async fn a_manifest_made_elsewhere_is_tagged_and_listed() {
    const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
    for has_referrers in [true, false] {
        let server = Server::start().await;
        server.set(|settings| settings.has_referrers = has_referrers);
        let image = put_image(&server);
        let config = Descriptor::of(media_type::CONFIG, b"{}");
        let mut layer = Descriptor::of("x/payload", b"abc");
        layer.annotations = [("signature".to_owned(), "MEUC".to_owned())].into();
        let mut manifest = Manifest::image(config.clone(), vec![layer.clone()]);
        manifest.artifact_type = Some(SIGNATURE.to_owned());
        manifest.subject = Some(image.clone());
        let tag = format!("sha256-{}.sig", image.digest.hex());
        let place = server.reference("a:1").with_tag(&tag).unwrap();
        let blobs = [
            (config, Bytes::from_static(b"{}")),
            (layer, Bytes::from_static(b"abc")),
        ];
        let entry = client()
            .push_referrer(&place, &manifest, &blobs)
            .await
            .unwrap();
        let stored = server.manifest("a", &tag).unwrap();
        assert_eq!(stored, manifest.to_json());
        let text = String::from_utf8_lossy(&stored);
        assert!(text.contains(r#""annotations":{"signature":"MEUC"}"#));
        let listed = client()
            .referrers(&place, image.digest, Some(SIGNATURE))
            .await
            .unwrap();
        assert_eq!(listed, [entry], "API: {has_referrers}");
    }
}

#[tokio::test]
async fn the_same_artifact_is_listed_once() {
    let server = Server::start().await;
    server.set(|settings| settings.has_referrers = false);
    let image = put_image(&server);
    let place = server.reference("a:1");
    for _ in 0..2 {
        push(&client(), (&place, &image), (SBOM, "1"))
            .await
            .unwrap();
    }
    let listed = client()
        .referrers(&place, image.digest, None)
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn an_entry_that_somebody_wrote_over_is_written_again() {
    let server = Server::start().await;
    server.set(|settings| settings.has_referrers = false);
    let image = put_image(&server);
    let place = server.reference("a:1");
    // the first write is taken and then lost
    let lost = Fault::Answer(201, Vec::new(), String::new());
    server.fault("PUT", "/sha256-", 1, lost);
    push(&client(), (&place, &image), (SBOM, "1"))
        .await
        .unwrap();
    let listed = client()
        .referrers(&place, image.digest, None)
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(server.seen("PUT", "/sha256-").len(), 2);
}

#[tokio::test]
async fn artifacts_of_one_image_may_come_together() {
    let server = Server::start().await;
    server.set(|settings| settings.has_referrers = false);
    let image = put_image(&server);
    let place = server.reference("a:1");
    let client = client();
    let texts: Vec<String> = (0..6).map(|number| number.to_string()).collect();
    let pushes = texts
        .iter()
        .map(|text| push(&client, (&place, &image), (SBOM, text)));
    futures_util::future::try_join_all(pushes).await.unwrap();
    let listed = client.referrers(&place, image.digest, None).await.unwrap();
    assert_eq!(listed.len(), 6);
}

#[tokio::test]
async fn a_page_for_browsers_is_no_list() {
    let server = Server::start().await;
    let image = put_image(&server);
    let place = server.reference("a:1");
    let page = || {
        let headers = vec![("content-type", "text/html".to_owned())];
        Fault::Answer(200, headers, "<html></html>".to_owned())
    };
    server.fault("GET", "/referrers/", 1, page());
    let listed = client()
        .referrers(&place, image.digest, None)
        .await
        .unwrap();
    assert!(listed.is_empty());

    let other = Index::new(Vec::new()).to_json();
    let tag = format!("sha256-{}", image.digest.hex());
    server.put_manifest(("a", &tag), media_type::INDEX, &other);
    server.fault("GET", "/referrers/", 1, page());
    let listed = client()
        .referrers(&place, image.digest, None)
        .await
        .unwrap();
    assert!(listed.is_empty());
}
