//! Artifacts and what lists them, with the API and without.

use bytes::Bytes;
use oci_image::registry::Artifact;
use oci_image::{Descriptor, Index, Manifest, media_type};

use crate::server::{Fault, Server, client};

const SBOM: &str = "application/spdx+json";

fn put_image(server: &Server) -> Descriptor {
    server.put_blob("a", b"{}");
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    let image = Manifest::image(config, Vec::new()).to_json();
    server.put_manifest(("a", "1"), media_type::MANIFEST, &image);
    Descriptor::of(media_type::MANIFEST, &image)
}

fn artifact(kind: &str, text: &str) -> Artifact {
    Artifact {
        artifact_type: kind.to_owned(),
        layers: vec![(kind.to_owned(), Bytes::from(text.to_owned()))],
        annotations: [("made-by".to_owned(), "test".to_owned())].into(),
        ..Artifact::default()
    }
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
            let artifact = artifact(kind, text);
            pushed.push(
                client
                    .push_artifact(&place, &image, &artifact)
                    .await
                    .unwrap(),
            );
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

#[tokio::test]
async fn an_artifact_is_a_manifest_with_a_subject() {
    let server = Server::start().await;
    let image = put_image(&server);
    let place = server.reference("a:1");
    let empty = Artifact {
        artifact_type: SBOM.to_owned(),
        ..Artifact::default()
    };
    let pushed = client()
        .push_artifact(&place, &image, &empty)
        .await
        .unwrap();
    let document = server.manifest("a", &pushed.digest.to_string()).unwrap();
    let blank = r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;
    let expected = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/spdx+json","config":{blank},"layers":[{blank}],"subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{}}}}}"#,
        image.digest, image.size
    );
    assert_eq!(document, expected);
    // the tag still means the image
    assert!(
        server.seen("PUT", "manifests")[0]
            .path
            .contains(&pushed.digest.to_string())
    );
}

#[tokio::test]
async fn the_same_artifact_is_listed_once() {
    let server = Server::start().await;
    server.set(|settings| settings.has_referrers = false);
    let image = put_image(&server);
    let place = server.reference("a:1");
    for _ in 0..2 {
        let artifact = artifact(SBOM, "1");
        client()
            .push_artifact(&place, &image, &artifact)
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
    let artifact = artifact(SBOM, "1");
    client()
        .push_artifact(&place, &image, &artifact)
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
    let artifacts: Vec<Artifact> = (0..6).map(|n| artifact(SBOM, &n.to_string())).collect();
    let pushes = artifacts
        .iter()
        .map(|artifact| client.push_artifact(&place, &image, artifact));
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
