//! Images for other machines than this one: they are files, so no toolchain is needed.

use std::fs;

use oci_image::{Descriptor, Layout, Platform};
use serde_json::Value;
use test_support::registry::Registry;
use tokio::runtime::Runtime;

use crate::pages::{self, FILES};
use crate::workspace::Workspace;

/// A processor that no machine of this test has, so that it is as foreign here as anywhere.
const FOREIGN: &str = if cfg!(target_arch = "aarch64") {
    "linux/amd64"
} else {
    "linux/arm64"
};

fn stack(platforms: &str) -> Workspace {
    pages::stack(&format!("{FILES}  platforms: {platforms}\n"))
}

fn platforms(manifests: &[Descriptor]) -> Vec<String> {
    let platform = |entry: &Descriptor| entry.platform.as_ref().map(Platform::to_string);
    manifests.iter().filter_map(platform).collect()
}

/// A registry, and a stack whose images go there.
fn with_registry(workspace: &Workspace) -> (Runtime, Registry) {
    let runtime = Runtime::new().expect("threads");
    let registry = Registry::default();
    let address = runtime.block_on(registry.start());
    let environment = format!("cluster: local\nregistry: {address}/team\n");
    workspace.write("environments/local.yaml", environment);
    (runtime, registry)
}

#[test]
fn an_image_for_two_platforms_is_an_index_and_has_an_sbom_each() {
    let workspace = stack("[linux/amd64, linux/arm64]");
    let run = pages::run(
        &workspace,
        &[
            "build",
            "--to",
            "oci:out",
            "--sbom=lists",
            "--output",
            "json",
        ],
    );
    pages::report(&run);
    let out = Layout::open(workspace.path().join("out")).expect("a layout");
    let image = pages::named(&out, "pages:");
    out.verify(&image).expect("it is whole");
    let index = pages::index(&out, &image);
    assert_eq!(platforms(&index.manifests), ["linux/amd64", "linux/arm64"]);
    for (architecture, child) in ["amd64", "arm64"].iter().zip(&index.manifests) {
        let image = out.manifest(child).expect("an image");
        assert_eq!(image.config.platform, Platform::linux(architecture));
        assert_eq!(image.manifest.layers.len(), 1);
        let sbom = format!("lists/pages.linux-{architecture}.spdx.json");
        let sbom = fs::read(workspace.path().join(sbom)).expect("an SBOM");
        let sbom: Value = serde_json::from_slice(&sbom).expect("JSON");
        assert_eq!(sbom["spdxVersion"], "SPDX-2.3");
    }
}

#[test]
fn an_index_is_pushed_with_all_its_images() {
    let workspace = stack("[linux/amd64, linux/arm64]");
    let (_runtime, registry) = with_registry(&workspace);
    let run = pages::run(&workspace, &["build", "--to", "registry"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let stored = registry.stored();
    let tagged: Vec<&String> = stored
        .iter()
        .filter(|path| path.contains("/manifests/") && !path.contains("/manifests/sha256"))
        .collect();
    assert_eq!(tagged.len(), 1, "{stored:?}");
    let index: oci_image::Index =
        serde_json::from_slice(&registry.get(tagged[0])).expect("an index");
    assert_eq!(platforms(&index.manifests), ["linux/amd64", "linux/arm64"]);
    for child in &index.manifests {
        let path = format!("/v2/team/pages/manifests/{}", child.digest);
        assert!(stored.contains(&path), "{path} is not in {stored:?}");
    }
    let puts = registry.count("PUT");
    // Asked about what is in it, the second run reads every image and sends none.
    let again = pages::run(&workspace, &["build", "--to", "registry", "--sbom=lists"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stderr.contains("present"), "{}", again.stderr);
    let documents = registry.count("PUT") - puts;
    assert!(documents > 0, "the lists of packages are attached");
}

#[test]
fn an_image_for_another_machine_goes_everywhere_but_to_this_one() {
    let workspace = stack(&format!("[{FOREIGN}]"));
    let (_runtime, registry) = with_registry(&workspace);
    for arguments in [
        &["build", "--to", "oci:out"][..],
        &["build", "--to", "oci:out"],
        &["build", "--to", "archive:out.tar"],
        &["build", "--to", "archive:out.tar"],
        &["build", "--to", "registry"],
        &["build", "--to", "registry"],
        // Nothing is found in the registry before: the store has it, and it is looked at again.
        &["build", "--to", "registry", "--sbom=lists"],
    ] {
        let run = pages::run(&workspace, arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
    }
    let out = Layout::open(workspace.path().join("out")).expect("a layout");
    let image = out.manifest(&pages::named(&out, "pages:")).expect("one");
    assert_eq!(image.config.platform.to_string(), FOREIGN);
    let config = image.id().hex();
    assert!(names(&workspace, "out.tar").contains(&format!("{config}.json")));
    assert!(registry.count("PUT /v2/team/pages/manifests/") > 0);
}

/// `docker load` takes what it can run; the others lie beside it, as skopeo and podman read them.
#[test]
fn an_archive_has_all_platforms() {
    let workspace = stack("[linux/amd64, linux/arm64]");
    for _ in 0..2 {
        let run = pages::run(&workspace, &["build", "--to", "archive:out.tar"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let names = names(&workspace, "out.tar");
    assert_eq!(names[..3], ["manifest.json", "index.json", "oci-layout"]);
    let images = pages::images(&workspace);
    let image = pages::named(&images, "pages:");
    for child in pages::index(&images, &image).manifests {
        let manifest = pages::manifest(&images, &child);
        for digest in [
            child.digest,
            manifest.config.digest,
            manifest.layers[0].digest,
        ] {
            let path = format!("blobs/sha256/{}", digest.hex());
            assert!(names.contains(&path), "{path} is not in {names:?}");
        }
    }
    let before = fs::read(workspace.path().join("out.tar")).expect("the archive");
    // What `docker load` would take may be the same where another platform's image is not.
    workspace.write(
        pages::PAGES,
        format!("build:\n{FILES}  platforms: [linux/amd64, linux/arm64, linux/riscv64]\n"),
    );
    let run = pages::run(&workspace, &["build", "--to", "archive:out.tar"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let after = fs::read(workspace.path().join("out.tar")).expect("the archive");
    assert_ne!(before, after);
}

fn names(workspace: &Workspace, archive: &str) -> Vec<String> {
    let file = fs::File::open(workspace.path().join(archive)).expect("an archive");
    let mut archive = tar::Archive::new(file);
    let entries = archive.entries().expect("a tar archive");
    let path = |entry: std::io::Result<tar::Entry<'_, fs::File>>| {
        let entry = entry.expect("an entry");
        entry.path().expect("a path").display().to_string()
    };
    entries.map(path).collect()
}

#[test]
fn files_are_for_any_platform() {
    for platform in ["linux/arm/v7", "linux/s390x", "windows/amd64"] {
        let workspace = stack(&format!("[{platform}]"));
        let run = pages::run(&workspace, &["build", "--to", "oci:out"]);
        assert_eq!(run.code, 0, "{platform}: {}", run.stderr);
        let out = Layout::open(workspace.path().join("out")).expect("a layout");
        let image = out.manifest(&pages::named(&out, "pages:"));
        let image = image.unwrap_or_else(|error| panic!("{platform}: {error}"));
        assert_eq!(image.config.platform.to_string(), platform);
    }
}

/// What cannot be built for a platform is refused at the place of its name, before anything is begun.
#[test]
fn what_a_platform_has_not_is_refused_where_it_is_named() {
    for (build, place, words) in [
        (
            "  packages: [redis-server]\n  entrypoint: [/x]\n  platforms: [linux/amd64, linux/arm/v6]\n",
            "services/pages/service.yaml:4:28",
            "images of Debian packages are not built for `linux/arm/v6`",
        ),
        (
            "  packages: [redis-server]\n  entrypoint: [/x]\n  platforms: [windows/amd64]\n",
            "services/pages/service.yaml:4:15",
            "images of Debian packages are not built for `windows/amd64`",
        ),
        (
            "  cargo: pages\n  platforms: [linux/arm/v7]\n",
            "services/pages/service.yaml:3:15",
            "binaries are not built for `linux/arm/v7`",
        ),
        (
            "  files: { pages: /srv }\n  entrypoint: [/x]\n  platforms: [linux/amd64, linux/amd64]\n",
            "services/pages/service.yaml:4:28",
            "`linux/amd64` is there twice",
        ),
    ] {
        let workspace = pages::stack(build);
        let run = pages::run(&workspace, &["build", "--to", "oci:out"]);
        assert_eq!(run.code, 2, "{}", run.stderr);
        for words in [place, words] {
            assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
        }
        assert!(!workspace.path().join("out").exists());
    }
}
