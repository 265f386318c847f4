//! A store that rots: whatever is damaged is made anew, at the latest by the second run.

use std::fs;
use std::path::{Path, PathBuf};

use oci_image::{Descriptor, Layout};

use crate::pages::{self, FILES};
use crate::workspace::Workspace;

const BUILD: &[&str] = &["build", "--to", "oci:out", "--output", "json"];

/// Two layers: only with packages or binaries there would be more; what they are does not matter here.
fn built(build: &str) -> (Workspace, String) {
    let workspace = pages::stack(build);
    let digest = pages::digest(&pages::report(&pages::run(&workspace, BUILD)));
    (workspace, digest)
}

/// One bit, so that the size stays.
fn flip(layout: &Layout, blob: &Descriptor) {
    let path = layout.blob_path(&blob.digest);
    let mut content = fs::read(&path).expect("it was made");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    // Other folders may have the same file.
    fs::remove_file(&path).expect("it is ours");
    fs::write(&path, content).expect("it is ours");
}

/// Runs until it succeeds, twice at most, and compares what came out.
fn heals(workspace: &Workspace, arguments: &[&str], digest: &str, what: &str) {
    pages::remove(&workspace.path().join("out"));
    let mut run = pages::run(workspace, arguments);
    if run.code != 0 {
        assert_eq!(run.code, 1, "{what}: {}", run.stderr);
        assert!(
            run.stderr.contains("run the command again"),
            "{what}: {}",
            run.stderr
        );
        run = pages::run(workspace, arguments);
    }
    assert_eq!(
        pages::digest(&pages::report(&run)),
        digest,
        "{what}: {}",
        run.stderr
    );
    for folder in [
        workspace.path().join("out"),
        pages::cache(workspace).join("images"),
    ] {
        let layout = Layout::open(&folder).expect("a layout");
        let image = pages::named(&layout, "pages:");
        layout
            .verify(&image)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

#[test]
fn every_blob_may_rot() {
    let (workspace, digest) = built(FILES);
    let layout = pages::images(&workspace);
    let image = pages::named(&layout, "pages:");
    let manifest = pages::manifest(&layout, &image);
    let blobs = [("manifest", &image), ("configuration", &manifest.config)];
    let layers = manifest.layers.iter().map(|layer| ("layer", layer));
    for (what, blob) in blobs.into_iter().chain(layers) {
        flip(&layout, blob);
        heals(&workspace, BUILD, &digest, what);
    }
}

#[test]
fn every_blob_of_several_platforms_may_rot() {
    let platforms = "  platforms: [linux/amd64, linux/arm64]\n";
    let (workspace, digest) = built(&format!("{FILES}{platforms}"));
    let layout = pages::images(&workspace);
    let image = pages::named(&layout, "pages:");
    flip(&layout, &image);
    heals(&workspace, BUILD, &digest, "index");
    for child in pages::index(&layout, &image).manifests {
        let manifest = pages::manifest(&layout, &child);
        flip(&layout, &child);
        heals(&workspace, BUILD, &digest, "manifest");
        flip(&layout, &manifest.config);
        heals(&workspace, BUILD, &digest, "configuration");
    }
}

/// Here nothing is delivered when the damage is found.
#[test]
fn what_is_damaged_is_taken_out_where_it_is_described_too() {
    let (workspace, digest) = built(FILES);
    let layout = pages::images(&workspace);
    let image = pages::named(&layout, "pages:");
    let manifest = pages::manifest(&layout, &image);
    for (what, blob) in [
        ("configuration", &manifest.config),
        ("layer", &manifest.layers[0]),
    ] {
        flip(&layout, blob);
        let arguments = &["build", "--sbom=lists"];
        let first = pages::run(&workspace, arguments);
        assert_eq!(first.code, 1, "{what}: {}", first.stderr);
        assert!(
            first.stderr.contains("run the command again"),
            "{}",
            first.stderr
        );
        let second = pages::run(&workspace, arguments);
        assert_eq!(second.code, 0, "{what}: {}", second.stderr);
        heals(&workspace, BUILD, &digest, what);
    }
}

#[test]
fn what_lies_beside_the_blobs_may_rot() {
    let (workspace, digest) = built(FILES);
    let cache = pages::cache(&workspace);
    let index = cache.join("images/index.json");
    let content = fs::read(&index).expect("an index");
    fs::write(&index, &content[..content.len() / 2]).expect("it is ours");
    heals(&workspace, BUILD, &digest, "index.json");

    // The image is gone and what is known of its layers is rubbish.
    for layer in files(&cache.join("layers")) {
        fs::write(layer, b"\0rubbish").expect("it is ours");
    }
    let layout = pages::images(&workspace);
    assert!(layout.untag(&name(&layout)).expect("a layout"));
    heals(&workspace, BUILD, &digest, "layers/KEY");
}

/// The folder of somebody who takes images: there, too, a document that rotted is replaced.
#[test]
fn a_folder_of_images_may_rot() {
    let (workspace, digest) = built(FILES);
    let out = Layout::open(workspace.path().join("out")).expect("a layout");
    let image = pages::named(&out, "pages:");
    let config = pages::manifest(&out, &image).config;
    for blob in [&image, &config] {
        flip(&out, blob);
        let run = pages::run(&workspace, BUILD);
        assert_eq!(pages::digest(&pages::report(&run)), digest);
        out.verify(&image).expect("it is whole again");
    }
}

fn name(layout: &Layout) -> String {
    let names = layout.names().expect("an index");
    names.into_keys().next().expect("one image")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}
