//! Whole images between a layout and a registry.

use std::sync::Arc;

use oci_image::registry::{Client, ErrorKind, Outcome, TransferError};
use oci_image::{
    Descriptor, Digest, ImageConfig, Index, Layout, LayoutError, Manifest, Platform, RunConfig,
    StoredImage, media_type,
};

use crate::server::{Fault, Heard, Server, client, content};

fn config(architecture: &str, layers: &[Descriptor]) -> Vec<u8> {
    let config = ImageConfig {
        platform: Platform::linux(architecture),
        created: 0,
        run: RunConfig::default(),
    };
    let layers: Vec<_> = layers.iter().map(|layer| (layer.digest, "test")).collect();
    config.to_json(&layers)
}

/// An image of two layers, of which the first is the same for all.
fn store(layout: &Layout, architecture: &str) -> StoredImage {
    let layers = [content(3000), format!("of {architecture}").into_bytes()];
    let layers = layers.map(|layer| layout.add(media_type::LAYER, &layer).unwrap());
    let config = config(architecture, &layers);
    layout.add_image(&config, layers.to_vec()).unwrap()
}

fn layout() -> (tempfile::TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open(folder.path().join("images")).unwrap();
    (folder, layout)
}

#[tokio::test]
async fn an_image_goes_there_and_comes_back() {
    let server = Server::start().await;
    let (_folder, here) = layout();
    let image = store(&here, "amd64");
    let to = server.reference("team/a:1.0");
    let heard = Arc::new(Heard::default());
    let client = client().observed(heard.clone());
    let pushed = client
        .push_image(&here, &image.descriptor, &to)
        .await
        .unwrap();
    assert_eq!(pushed.descriptor, image.descriptor);
    let outcomes: Vec<Outcome> = pushed.blobs.iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(outcomes, [Outcome::Uploaded; 3]);
    let ended = heard
        .all()
        .iter()
        .filter(|heard| heard.outcome.is_some())
        .count();
    assert_eq!(ended, 3);
    let requests = server.requests();
    assert_eq!(requests.last().unwrap(), "PUT /v2/team/a/manifests/1.0");

    let (_folder, there) = layout();
    let platform = Platform::linux("amd64");
    let pulled = client.pull_image(&there, &to, &platform).await.unwrap();
    assert_eq!(there.image(&pulled, &platform).unwrap(), image);
    for (_, layer) in image.layers() {
        assert!(there.has(layer));
    }
    let before = server.seen("GET", "blobs").len();
    client.pull_image(&there, &to, &platform).await.unwrap();
    assert_eq!(
        server.seen("GET", "blobs").len(),
        before,
        "all of it is there"
    );
}

#[tokio::test]
async fn the_manifest_comes_last() {
    let server = Server::start().await;
    let (_folder, here) = layout();
    let image = store(&here, "amd64");
    let to = server.reference("a:1");
    client()
        .push_image(&here, &image.descriptor, &to)
        .await
        .unwrap();
    let config = image.manifest.config.digest.to_string();
    let requests = server.requests();
    let place = |part: &str| {
        requests
            .iter()
            .position(|line| line.contains(part))
            .unwrap()
    };
    let last_layer = requests
        .iter()
        .rposition(|line| line.starts_with("PATCH"))
        .unwrap();
    assert!(last_layer < place(&config) && place(&config) < place("manifests/1"));
}

#[tokio::test]
async fn the_next_image_sends_what_is_its_own() {
    let server = Server::start().await;
    let (_folder, here) = layout();
    let client = client();
    let one = store(&here, "amd64");
    let other = store(&here, "arm64");
    client
        .push_image(&here, &one.descriptor, &server.reference("one:1"))
        .await
        .unwrap();
    let pushed = client
        .push_image(&here, &other.descriptor, &server.reference("other:1"))
        .await
        .unwrap();
    let shared = Digest::of(&content(3000));
    for (blob, outcome) in pushed.blobs {
        let expected = match blob.digest == shared {
            true => Outcome::Mounted,
            false => Outcome::Uploaded,
        };
        assert_eq!(outcome, expected);
    }
}

#[tokio::test]
async fn layers_are_mounted_from_the_base_that_is_named() {
    let server = Server::start().await;
    let (_folder, here) = layout();
    let mut manifest = store(&here, "amd64").manifest;
    server.put_blob("base", &content(3000));
    let base = server.reference("base:1").to_string();
    let name = "org.opencontainers.image.base.name".to_owned();
    manifest.annotations.insert(name, base);
    let image = here.add(media_type::MANIFEST, &manifest.to_json()).unwrap();
    let to = server.reference("a:1");
    let pushed = client().push_image(&here, &image, &to).await.unwrap();
    let mounted = pushed
        .blobs
        .iter()
        .filter(|(_, outcome)| *outcome == Outcome::Mounted);
    let mounted: Vec<Digest> = mounted.map(|(blob, _)| blob.digest).collect();
    assert_eq!(mounted, [Digest::of(&content(3000))]);
}

#[tokio::test]
async fn an_index_goes_there_and_one_image_of_it_comes_back() {
    let server = Server::start().await;
    let (_folder, here) = layout();
    let images = [store(&here, "amd64"), store(&here, "arm64")];
    let entry = |image: &StoredImage| Descriptor {
        platform: Some(image.config.platform.clone()),
        ..image.descriptor.clone()
    };
    let index = Index::new(images.iter().map(entry).collect());
    let index = here.add(media_type::INDEX, &index.to_json()).unwrap();
    let to = server.reference("a:1");
    let pushed = client().push_image(&here, &index, &to).await.unwrap();
    assert_eq!(pushed.descriptor, index);
    assert_eq!(pushed.blobs.len(), 5);
    let puts = server.seen("PUT", "manifests");
    let puts: Vec<&str> = puts.iter().map(|seen| seen.path.as_str()).collect();
    let [amd64, arm64] = &images;
    let expected = [
        amd64.descriptor.digest.to_string(),
        arm64.descriptor.digest.to_string(),
        "1".to_owned(),
    ];
    assert_eq!(
        puts,
        expected.map(|version| format!("/v2/a/manifests/{version}"))
    );

    let (_folder, there) = layout();
    let pulled = client()
        .pull_image(&there, &to, &Platform::linux("arm64"))
        .await
        .unwrap();
    assert_eq!(pulled, arm64.descriptor);
    let error = client()
        .pull_image(&there, &to, &Platform::linux("s390x"))
        .await
        .unwrap_err();
    let expected = format!(
        "{} has no image for linux/s390x; it has linux/amd64, linux/arm64",
        index.digest
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn an_index_with_an_image_that_nobody_has_is_refused() {
    let server = Server::start().await;
    let (_folder, here) = layout();
    let image = store(&here, "amd64");
    let absent = Manifest::image(image.manifest.config.clone(), Vec::new()).to_json();
    let entry = Descriptor::of(media_type::MANIFEST, &absent);
    let index = Index::new(vec![image.descriptor, entry.clone()]).to_json();
    let index = here.add(media_type::INDEX, &index).unwrap();
    let to = server.reference("a:1");
    let error = client().push_image(&here, &index, &to).await.unwrap_err();
    let missing = |error: TransferError| match error {
        TransferError::Layout(error) => error.damaged().cloned(),
        TransferError::Registry(error) => panic!("{error}"),
    };
    assert_eq!(missing(error), Some(entry));
    // what the registry has already need not be here
    server.put_manifest(("a", "other"), media_type::MANIFEST, &absent);
    client().push_image(&here, &index, &to).await.unwrap();
}

#[tokio::test]
async fn a_layer_that_is_damaged_here_is_told_as_such() {
    let server = Server::start().await;
    let to = server.reference("a:1");
    let shared = Descriptor::of(media_type::LAYER, &content(3000));
    for damage in [
        Some(content(3001)[1..].to_vec()),
        Some(b"short".to_vec()),
        None,
    ] {
        let (_folder, here) = layout();
        let image = store(&here, "amd64");
        let path = here.blob_path(&shared.digest);
        match &damage {
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let error = client()
            .push_image(&here, &image.descriptor, &to)
            .await
            .unwrap_err();
        match error {
            TransferError::Layout(error) => assert_eq!(error.damaged(), Some(&shared)),
            TransferError::Registry(error) => panic!("{error}"),
        }
        assert_eq!(server.manifest("a", "1"), None);
    }
}

#[tokio::test]
async fn a_layer_that_is_missing_here_and_there_already_is_no_matter() {
    let server = Server::start().await;
    let (_folder, here) = layout();
    let image = store(&here, "amd64");
    let shared = server.put_blob("a", &content(3000));
    std::fs::remove_file(here.blob_path(&shared.digest)).unwrap();
    let to = server.reference("a:1");
    client()
        .push_image(&here, &image.descriptor, &to)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_pull_that_fails_leaves_no_image() {
    let server = Server::start().await;
    let (_folder, here) = layout();
    let image = store(&here, "amd64");
    let to = server.reference("a:1");
    client()
        .push_image(&here, &image.descriptor, &to)
        .await
        .unwrap();
    let (_folder, there) = layout();
    let shared = Digest::of(&content(3000)).to_string();
    let other = Fault::Body(content(3001)[1..].to_vec().into());
    server.fault("GET", &shared, 1, other);
    let platform = Platform::linux("amd64");
    let error = client()
        .pull_image(&there, &to, &platform)
        .await
        .unwrap_err();
    match error {
        TransferError::Registry(error) => {
            assert!(matches!(error.kind(), ErrorKind::Digest { .. }), "{error}");
        }
        TransferError::Layout(error) => panic!("{error}"),
    }
    let found = there.read(&image.descriptor);
    assert!(matches!(found, Err(LayoutError::Missing { .. })));
    client().pull_image(&there, &to, &platform).await.unwrap();
}

#[tokio::test]
async fn images_are_moved_from_tasks_too() {
    let server = Server::start().await;
    let (_folder, here) = layout();
    let image = store(&here, "amd64");
    let to = server.reference("a:1");
    let client: Client = client();
    let task = tokio::spawn(async move {
        client.push_image(&here, &image.descriptor, &to).await?;
        client
            .pull_image(&here, &to, &Platform::linux("amd64"))
            .await
    });
    task.await.unwrap().unwrap();
}
