//! The client against a real registry: `STACKCTL_TEST_REGISTRY=127.0.0.1:5000`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use oci_image::registry::{Client, Options, Outcome};
use oci_image::{Descriptor, Manifest, Reference, media_type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{content, install_provider};

fn registry() -> String {
    std::env::var("STACKCTL_TEST_REGISTRY").expect("STACKCTL_TEST_REGISTRY is HOST:PORT")
}

/// A repository that nobody used before.
fn place(name: &str) -> Reference {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let name = format!("{}/stackctl-test/{name}-{}", registry(), now.as_nanos());
    name.parse().unwrap()
}

fn chunky() -> Client {
    install_provider();
    Client::new(Options {
        chunk_size: 1024 * 1024,
        ..Options::default()
    })
}

#[tokio::test]
#[ignore = "needs a registry ($STACKCTL_TEST_REGISTRY)"]
async fn an_image_goes_there_and_comes_back() {
    let client = chunky();
    let (first, second) = (place("first"), place("second"));
    // what nobody pushed before, in three chunks
    let mut large = content(2_500_000);
    large.extend_from_slice(first.repository().as_bytes());
    let layer = Descriptor::of(media_type::LAYER, &large);
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    for (to, outcome) in [(&first, Outcome::Uploaded), (&second, Outcome::Mounted)] {
        let source = Arc::new(Bytes::from(large.clone()));
        assert_eq!(client.push_blob(to, &layer, source).await.unwrap(), outcome);
        let source = Arc::new(Bytes::from_static(b"{}"));
        client.push_blob(to, &config, source).await.unwrap();
    }
    let source = Arc::new(Bytes::from(large.clone()));
    let again = client.push_blob(&second, &layer, source).await.unwrap();
    assert_eq!(again, Outcome::Existing);

    let image = Manifest::image(config, vec![layer.clone()]).to_json();
    let tagged = second.with_tag("1.0").unwrap();
    assert_eq!(client.head_manifest(&tagged).await.unwrap(), None);
    let pushed = client
        .push_manifest(&tagged, media_type::MANIFEST, image.clone().into())
        .await
        .unwrap();
    let found = client.head_manifest(&tagged).await.unwrap();
    assert_eq!(found, Some(pushed.descriptor.clone()));
    let fetched = client
        .manifest(&tagged.pinned(pushed.descriptor.digest))
        .await
        .unwrap();
    assert_eq!(fetched.bytes, image);
    let mut reader = client.pull_blob(&second, &layer).await.unwrap();
    let mut came = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        came.extend_from_slice(&piece);
    }
    assert!(came == large);
}

#[tokio::test]
#[ignore = "needs a registry ($STACKCTL_TEST_REGISTRY)"]
async fn artifacts_are_listed() {
    let client = chunky();
    let place = place("artifacts");
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    let source = Arc::new(Bytes::from_static(b"{}"));
    client.push_blob(&place, &config, source).await.unwrap();
    let image = Manifest::image(config, Vec::new()).to_json();
    let pushed = client
        .push_manifest(
            &place.with_tag("1").unwrap(),
            media_type::MANIFEST,
            image.into(),
        )
        .await
        .unwrap();
    let subject = &pushed.descriptor;
    let config = Descriptor::of(media_type::EMPTY, b"{}");
    let layer = Descriptor::of("application/spdx+json", b"{ }");
    let manifest = Manifest {
        artifact_type: Some("application/spdx+json".to_owned()),
        subject: Some(subject.clone()),
        ..Manifest::image(config.clone(), vec![layer.clone()])
    };
    let blobs = [
        (config, Bytes::from_static(b"{}")),
        (layer, Bytes::from_static(b"{ }")),
    ];
    let entry = client
        .push_referrer(&place, &manifest, &blobs)
        .await
        .unwrap();
    let listed = client
        .referrers(&place, subject.digest, Some("application/spdx+json"))
        .await
        .unwrap();
    assert_eq!(listed, [entry]);
}

#[tokio::test]
#[ignore = "needs a registry ($STACKCTL_TEST_REGISTRY)"]
async fn a_connection_that_breaks_is_borne() {
    // What goes up and what comes down breaks once each, in the middle of a chunk.
    let address = breaking(vec![1_700_000, usize::MAX, usize::MAX]).await;
    let place: Reference = place("cut")
        .to_string()
        .replacen(&registry(), &address, 1)
        .parse()
        .unwrap();
    let mut large = content(3_000_000);
    large.extend_from_slice(place.repository().as_bytes());
    let layer = Descriptor::of(media_type::LAYER, &large);
    let source = Arc::new(Bytes::from(large.clone()));
    let client = chunky();
    let outcome = client.push_blob(&place, &layer, source).await.unwrap();
    assert_eq!(outcome, Outcome::Uploaded);

    let address = breaking(vec![1_000_000, 1_000_000, usize::MAX]).await;
    let place: Reference = format!("{address}/{}", place.repository()).parse().unwrap();
    let mut reader = chunky().pull_blob(&place, &layer).await.unwrap();
    let mut came = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        came.extend_from_slice(&piece);
    }
    assert!(came == large);
}

/// The address of a way to the registry whose connections end after so many bytes, in order.
async fn breaking(limits: Vec<usize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        for limit in limits {
            let (mut near, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(registry()).await.unwrap();
                let (mut up, mut down) = ([0; 8192], [0; 8192]);
                let mut moved = 0;
                while moved < limit {
                    let (read, to_far) = tokio::select! {
                        read = near.read(&mut up) => (read.unwrap_or(0), true),
                        read = far.read(&mut down) => (read.unwrap_or(0), false),
                    };
                    let written = match to_far {
                        true => far.write_all(&up[..read]).await,
                        false => near.write_all(&down[..read]).await,
                    };
                    if read == 0 || written.is_err() {
                        break;
                    }
                    moved += read;
                }
            });
        }
    });
    address
}
