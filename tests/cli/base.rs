//! Images on the image of somebody else: what is taken of it, and what is not trusted.

use oci_image::{ConfigFile, Digest, Layout};
use serde_json::json;
use tar::EntryType;
use test_support::registry::{Refusal, Registry};
use tokio::runtime::Runtime;

use crate::pages::{self, FILES};
use crate::workspace::{Run, Workspace};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A registry with one image of one layer, and a stack that is built on it.
struct Scene {
    registry: Registry,
    workspace: Workspace,
    reference: String,
    layer: Digest,
    _runtime: Runtime,
}

impl Scene {
    fn new(layer: &[u8]) -> Self {
        let runtime = Runtime::new().expect("threads");
        let registry = Registry::default();
        let address = runtime.block_on(registry.start());
        let digest = put_image(&registry, layer);
        let reference = format!("{address}/team/base:12@{digest}");
        Self {
            registry,
            workspace: pages::stack(&format!("  base: \"{reference}\"\n{FILES}")),
            reference,
            layer: Digest::of(layer),
            _runtime: runtime,
        }
    }

    fn build(&self) -> Run {
        let arguments = &["build", "--to", "oci:out", "--output", "json"];
        pages::run(&self.workspace, arguments)
    }

    /// The build fails at the base, for this reason, and nothing has a name.
    fn refused(&self, words: &[&str]) {
        let run = self.build();
        assert_eq!(run.code, 1, "{words:?}: {}", run.stderr);
        let place = "services/pages/service.yaml:2:9";
        for word in [&["error[S0423]", "cannot be used", place][..], words].concat() {
            assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
        }
        let names = pages::images(&self.workspace).names().expect("an index");
        assert!(names.is_empty(), "{words:?}: {names:?}");
        assert!(!self.workspace.path().join("out").exists());
    }
}

/// An image for every platform that a test may run on, whose digest is returned.
fn put_image(registry: &Registry, layer: &[u8]) -> String {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let layer_digest = registry.put_blob("team/base", layer);
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {"Env": ["PATH=/opt/bin", "LANG=C.UTF-8"], "User": "7", "WorkingDir": "/work"},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    });
    let config = config.to_string();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {
            "mediaType": CONFIG, "size": config.len(),
            "digest": registry.put_blob("team/base", config.as_bytes()),
        },
        "layers": [{"mediaType": LAYER, "size": layer.len(), "digest": layer_digest}],
    });
    registry.put_manifest("team/base", manifest.to_string().as_bytes())
}

/// A tar archive of one entry exactly as given, also one that no tool would write.
fn entry(path: &str, kind: EntryType, link: &str, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let bytes = header.as_mut_bytes();
    bytes[..path.len()].copy_from_slice(path.as_bytes());
    bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    if kind == EntryType::Char {
        header.set_device_major(1).expect("a device");
        header.set_device_minor(3).expect("a device");
    }
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn good() -> Vec<u8> {
    entry("etc/", EntryType::Directory, "", 0)
}

#[test]
fn what_is_built_lies_on_the_base_and_runs_like_it() {
    let scene = Scene::new(&good());
    let report = pages::report(&scene.build());
    let out = Layout::open(scene.workspace.path().join("out")).expect("a layout");
    let image = pages::named(&out, "pages:");
    assert_eq!(image.digest.to_string(), pages::digest(&report));
    out.verify(&image).expect("it is whole");
    let manifest = pages::manifest(&out, &image);
    assert_eq!(manifest.layers.len(), 2);
    assert_eq!(manifest.layers[0].digest, scene.layer, "the base is below");
    let config = ConfigFile::parse(&out.read(&manifest.config).expect("it is whole"));
    let config = config.expect("a configuration");
    assert_eq!(config.run.env["LANG"], "C.UTF-8");
    assert_eq!(config.run.env["PATH"], "/opt/bin");
    assert_eq!(config.run.working_dir, "/work");
    assert_eq!(config.run.user, "65532:65532", "a base's user is not taken");
    assert_eq!(config.run.entrypoint, ["/srv/run"]);
    let (name, digest) = scene.reference.split_once('@').expect("it is pinned");
    let said =
        |key: &str| manifest.annotations[&format!("org.opencontainers.image.base.{key}")].as_str();
    assert_eq!((said("name"), said("digest")), (name, digest));

    // Pulled and inspected once.
    let requests = scene.registry.count("");
    scene.workspace.write("pages/index.html", "<p>ho\n");
    pages::report(&scene.build());
    assert_eq!(scene.registry.count(""), requests);
}

#[test]
fn a_malicious_base_is_refused_and_gets_no_name() {
    let file = EntryType::Regular;
    for (layer, words) in [
        (entry("../x", file, "", 0), "layer sha256:"),
        (entry("../x", file, "", 0), "`..`"),
        (
            entry("run", EntryType::Symlink, "../../etc", 0),
            "it links to `../../etc`, outside the root",
        ),
        (
            entry("run/.wh..", file, "", 0),
            "it is a forged mark of removal",
        ),
        (entry("null", EntryType::Char, "", 0), "it is a device node"),
        (
            entry("zeros", file, "", 64 << 30),
            "the content of the layer is longer than 34359738368 bytes",
        ),
        (b"no archive".repeat(100), "checksum"),
    ] {
        Scene::new(&layer).refused(&[words]);
    }
}

#[test]
fn a_base_that_is_not_what_its_digest_says_is_refused() {
    let scene = Scene::new(&good());
    let path = format!("/v2/team/base/blobs/{}", scene.layer);
    let mut other = good();
    other[600] ^= 1;
    scene.registry.put(&path, &other);
    scene.refused(&["digest"]);
    // The registry is repaired.
    scene.registry.put(&path, &good());
    pages::report(&scene.build());
}

#[test]
fn a_base_that_rotted_in_the_store_is_pulled_again() {
    let scene = Scene::new(&good());
    let report = pages::report(&scene.build());
    let layout = pages::images(&scene.workspace);
    let base = pages::named(&layout, "base/");
    let manifest = pages::manifest(&layout, &base);
    for blob in [&base, &manifest.config, &manifest.layers[0]] {
        let path = layout.blob_path(&blob.digest);
        let mut content = std::fs::read(&path).expect("it was pulled");
        content[100] ^= 1;
        std::fs::remove_file(&path).expect("it is ours");
        std::fs::write(&path, content).expect("it is ours");
        layout.untag(&pages_name(&layout)).expect("a layout");
        pages::remove(&scene.workspace.path().join("out"));
        let mut run = scene.build();
        if run.code == 1 {
            assert!(
                run.stderr.contains("run the command again"),
                "{}",
                run.stderr
            );
            run = scene.build();
        }
        assert_eq!(pages::digest(&pages::report(&run)), pages::digest(&report));
    }
}

fn pages_name(layout: &Layout) -> String {
    let names = layout.names().expect("an index").into_keys();
    let mut names = names.filter(|name| name.starts_with("pages:"));
    names.next().expect("the image")
}

#[test]
fn refusals_of_the_registry_are_explained_and_its_pauses_kept() {
    let scene = Scene::new(&good());
    let refuse = |status, times| {
        scene.registry.refuse(Refusal {
            retry_after: Some("0"),
            times,
            ..Refusal::always("GET", "/manifests/", status, "")
        });
    };
    refuse(401, usize::MAX);
    scene.refused(&["hint: log in: `docker login 127.0.0.1:"]);
    refuse(404, usize::MAX);
    scene.refused(&["hint: the registry has no such image"]);
    scene.registry.refuse(Refusal {
        retry_after: Some("3600"),
        ..Refusal::always("GET", "/manifests/", 429, "")
    });
    scene.refused(&["the registry limits how often it is asked, try again in 3600 s"]);
    // A pause that can be waited for is.
    refuse(429, 1);
    pages::report(&scene.build());
}
