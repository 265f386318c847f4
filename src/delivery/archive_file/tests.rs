//! Archives as files: what is in them, and what is left alone.

use oci_image::Digest;
use serde_json::{Value, json};

use super::*;
use crate::delivery::Delivered;
use crate::delivery::test_images::{TestContext, TestStore};
use crate::diagnostic::Explain;

fn files(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(File::open(path).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    });
    entries.collect()
}

async fn written(images: &[Delivery], file: &Path) -> Vec<Delivered> {
    let context = TestContext::default();
    let delivered = deliver(images, file, &context.context()).await.unwrap();
    delivered.into_values().map(|image| image.outcome).collect()
}

#[tokio::test]
async fn several_images_share_layers_in_one_file() {
    let store = TestStore::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("images.tar");
    let images = [
        store.delivery("", "a", &["base", "binary of a"]),
        store.delivery("r.example.com/", "b", &["base", "binary of b"]),
    ];
    written(&images, &file).await;
    let files = files(&file);
    assert_eq!(
        files.len(),
        1 + 2 + 3,
        "manifest, two configurations, three layers"
    );
    let path = |layer: &str| format!("{}.tar", store.layer(layer).diff_id.hex());
    let config = |service: &str, layer: &str| {
        format!("{}.json", store.image(service, &["base", layer]).id().hex())
    };
    let manifest: Value = serde_json::from_slice(&files[0].1).unwrap();
    assert_eq!(files[0].0, "manifest.json");
    assert_eq!(
        manifest,
        json!([
            {"Config": config("a", "binary of a"), "RepoTags": ["seedling/a:1"],
                "Layers": [path("base"), path("binary of a")]},
            {"Config": config("b", "binary of b"), "RepoTags": ["r.example.com/seedling/b:1"],
                "Layers": [path("base"), path("binary of b")]},
        ])
    );
    for (name, content) in files.iter().skip(1) {
        let hex = Digest::of(content).hex();
        assert!(name.starts_with(&hex), "{name} holds {hex}");
    }
}

#[tokio::test]
async fn the_same_images_are_written_once() {
    let store = TestStore::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("images.tar");
    let image = || [store.delivery("", "a", &["base"])];
    assert_ne!(written(&image(), &file).await, [Delivered::Present]);
    // Left behind by a process that was killed.
    fs::write(folder.path().join("images.tar.partial"), "half").unwrap();
    assert_eq!(written(&image(), &file).await, [Delivered::Present]);
    let other = [store.delivery("", "a", &["base", "more"])];
    assert_ne!(written(&other, &file).await, [Delivered::Present]);
    assert_eq!(files(&file).len(), 4);
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["images.tar"], "nothing is left beside it");
}

#[tokio::test]
async fn other_files_are_not_overwritten() {
    let store = TestStore::new();
    let folder = tempfile::tempdir().unwrap();
    let images = [store.delivery("", "a", &["base"])];
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    tar.append_data(&mut header, "backup/thesis.tex", &b"x"[..])
        .unwrap();
    for content in [b"my thesis".to_vec(), tar.into_inner().unwrap(), Vec::new()] {
        let file = folder.path().join("thesis.tar");
        fs::write(&file, &content).unwrap();
        let context = TestContext::default();
        let error = deliver(&images, &file, &context.context())
            .await
            .unwrap_err();
        assert!(
            matches!(error, DeliveryError::ForeignArchive { .. }),
            "{error}"
        );
        assert_eq!(error.exit(), crate::diagnostic::Exit::BadInput);
        assert_eq!(fs::read(&file).unwrap(), content);
    }
}

#[tokio::test]
async fn a_damaged_layer_makes_no_archive() {
    let store = TestStore::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("images.tar");
    let images = [store.delivery("", "a", &["base"])];
    let blob = store
        .layout
        .blob_path(&store.layer("base").descriptor.digest);
    let mut content = fs::read(&blob).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::set_permissions(&blob, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&blob, content).unwrap();
    let context = TestContext::default();
    deliver(&images, &file, &context.context())
        .await
        .unwrap_err();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn one_process_writes_a_file_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("images.tar.partial");
    let first = locked(&file).unwrap();
    let refused = locked(&file).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
    drop(first);
    locked(&file).unwrap();
}

#[test]
fn a_lock_on_what_has_another_name_by_now_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (partial, target) = (folder.path().join("a.partial"), folder.path().join("a"));
    let file = locked(&partial).unwrap();
    assert!(is_named(&file, &partial).unwrap());
    fs::rename(&partial, &target).unwrap();
    assert!(!is_named(&file, &partial).unwrap());
    fs::write(&partial, "of somebody else").unwrap();
    assert!(!is_named(&file, &partial).unwrap());
}

/// Whoever loses is told so or comes later; nobody ever reads half an archive.
#[test]
fn writers_of_one_file_do_not_cut_each_other_off() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("images.tar");
    let write = || match Content(Vec::new()).write_whole(&file, &CancellationToken::new()) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}"),
    };
    write();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..500).for_each(|_| write())))
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            let found = fs::read(&file).unwrap();
            assert_eq!(first_files(found.as_slice()).unwrap().len(), 1);
        }
    });
}

#[tokio::test]
async fn another_platforms_image_is_written_and_a_change_of_it_seen() {
    let store = TestStore::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("images.tar");
    let several = |other: &str| {
        let mut image = store.delivery("", "a", &["base"]);
        let descriptor = store.index(&[
            store.image_for("linux/amd64", "a", &["base"]),
            store.image_for("linux/arm64", "a", &[other]),
        ]);
        image.source = crate::delivery::Source::Store {
            layout: store.layout.clone(),
            descriptor,
        };
        [image]
    };
    assert_ne!(written(&several("one"), &file).await, [Delivered::Present]);
    assert_eq!(written(&several("one"), &file).await, [Delivered::Present]);
    assert_ne!(written(&several("two"), &file).await, [Delivered::Present]);
    let docker: Value = serde_json::from_slice(&files(&file)[0].1).unwrap();
    let layers = docker[0]["Layers"].as_array().unwrap();
    let base = store.layer("base").diff_id.hex();
    assert_eq!(layers, &[json!(format!("{base}.tar"))]);
}
