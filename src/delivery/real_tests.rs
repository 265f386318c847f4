//! Deliveries to a real Docker engine, a real containerd and a real registry: `cargo test -- --ignored real_`.
//!
//! `ctr` and `containerd` are Debian's; the engine is the one `docker` talks to; the registry is at
//! `$STACKCTL_TEST_REGISTRY`, else 127.0.0.1:5000.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oci_image::Compression;
use tempfile::TempDir;

use super::test_images::{TestContext, TestStore};
use super::{Delivered, Delivery, DeliveryReport, Moved, Route, Source, deliver};
use crate::image::Engine;

/// Names that no other run uses.
fn unique() -> String {
    format!("stackctl-delivery-{}", std::process::id())
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

async fn context() -> TestContext {
    let _ = rustls::crypto::ring::default_provider().install_default();
    TestContext {
        engine: Some(Engine::connect().await.unwrap()),
        ..TestContext::default()
    }
}

async fn delivered(images: &[Delivery], route: &Route, context: &TestContext) -> DeliveryReport {
    deliver(images, route, &context.context()).await.unwrap()
}

fn moved(report: &DeliveryReport, service: &str) -> Option<Moved> {
    match report.images[service].outcome {
        Delivered::Present => None,
        Delivered::Moved(moved) => Some(moved),
    }
}

/// Removes an image when dropped.
struct EngineImage(String);

impl Drop for EngineImage {
    fn drop(&mut self) {
        let remove = Command::new("docker")
            .args(["rmi", "--force", &self.0])
            .output();
        remove.ok();
    }
}

/// A containerd whose socket a container of the engine sees: as good as a node of kind.
struct Node {
    containerd: Child,
    container: String,
    folder: TempDir,
}

impl Node {
    fn start(cluster: &str, image: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let config = format!(
            "version = 2\nroot = \"{path}/root\"\nstate = \"{path}/state\"\n[grpc]\naddress = \"{path}/containerd.sock\"\n"
        );
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        let containerd = Command::new("containerd")
            .args(["--config", &format!("{path}/config.toml")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..100 {
            if folder.path().join("containerd.sock").exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let label = format!("io.x-k8s.kind.cluster={cluster}");
        let socket = format!("{path}:/run/containerd");
        let container = run(
            "docker",
            &[
                "run",
                "--detach",
                "--label",
                &label,
                "--label",
                "io.x-k8s.kind.role=control-plane",
                "--volume",
                "/usr:/usr:ro",
                "--volume",
                "/usr/bin:/bin:ro",
                "--volume",
                "/usr/lib:/lib:ro",
                "--volume",
                "/usr/lib64:/lib64:ro",
                "--volume",
                &socket,
                "--env",
                "PATH=/usr/bin",
                "--entrypoint",
                "/usr/bin/sleep",
                image,
                "1000",
            ],
        );
        Self {
            containerd,
            container,
            folder,
        }
    }

    fn ctr(&self, arguments: &[&str]) -> String {
        let socket = self.folder.path().join("containerd.sock");
        let mut all = vec![
            "--address",
            socket.to_str().unwrap(),
            "--namespace",
            "k8s.io",
        ];
        all.extend(arguments);
        run("ctr", &all)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let remove = Command::new("docker")
            .args(["rm", "--force", &self.container])
            .output();
        remove.ok();
        self.containerd.kill().ok();
        self.containerd.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker and containerd"]
async fn real_nodes_get_only_missing_layers() {
    let (context, store, cluster) = (context().await, TestStore::new(), unique());
    let mut carrier = store.delivery("", "node", &["carrier"]);
    carrier.reference = format!("{cluster}/node:1").parse().unwrap();
    let name = EngineImage(format!("{cluster}/node:1"));
    delivered(&[carrier], &Route::Engine, &context).await;
    let node = Node::start(&cluster, &name.0);
    let route = Route::Kind { cluster };

    let first = [store.delivery("", "a", &["base", "binary of a"])];
    let report = delivered(&first, &route, &context).await;
    assert_eq!(moved(&report, "a").unwrap().layers, 2);
    let second = [
        first[0].clone(),
        store.delivery("", "b", &["base", "binary of b"]),
    ];
    let report = delivered(&second, &route, &context).await;
    assert_eq!(moved(&report, "a"), None);
    assert_eq!(moved(&report, "b").unwrap().layers, 1, "the base was there");
    let check = node.ctr(&["images", "check", "name==docker.io/seedling/b:1"]);
    assert!(
        check.contains("complete (3/3)") && check.trim().ends_with("true"),
        "{check}"
    );
    assert!(!node.ctr(&["images", "ls", "--quiet"]).contains("import-"));

    // Someone removed a layer: the name is there, the image is not.
    let base = store.layer("base").descriptor.digest.to_string();
    node.ctr(&["content", "rm", &base]);
    let report = delivered(&second, &route, &context).await;
    assert_eq!(moved(&report, "a").unwrap().layers, 1, "the base again");
    assert_eq!(moved(&report, "b"), None, "which serves both");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn real_engines_load_an_image_once_and_give_it_back() {
    let (context, store) = (context().await, TestStore::new());
    let name = EngineImage(format!("{}/a:1", unique()));
    let mut image = store.delivery("", "a", &["base", "binary"]);
    image.reference = name.0.parse().unwrap();
    let images = [image];
    let report = delivered(&images, &Route::Engine, &context).await;
    assert_eq!(moved(&report, "a").unwrap().layers, 2);
    let report = delivered(&images, &Route::Engine, &context).await;
    assert_eq!(moved(&report, "a"), None);

    let id = run("docker", &["inspect", "--format", "{{.Id}}", &name.0]);
    let stored = store.image("a", &["base", "binary"]);
    assert_eq!(id, stored.id().to_string());
    let saved = Delivery {
        source: Source::Engine {
            reference: name.0.clone(),
            id,
        },
        ..images[0].clone()
    };
    let folder = tempfile::tempdir().unwrap();
    let route = Route::OciLayout(folder.path().join("out"));
    delivered(std::slice::from_ref(&saved), &route, &context).await;
    let layout = oci_image::Layout::open(folder.path().join("out")).unwrap();
    let found = layout
        .resolve(&saved.reference.to_string())
        .unwrap()
        .unwrap();
    assert_eq!(layout.manifest(&found).unwrap().id(), stored.id());

    let file = folder.path().join("images.tar");
    delivered(&[saved], &Route::Archive(file.clone()), &context).await;
    run("docker", &["rmi", &name.0]);
    run("docker", &["load", "--input", file.to_str().unwrap()]);
    run("docker", &["inspect", &name.0]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker and a registry"]
async fn real_registries_get_both_kinds_of_images() {
    let registry = std::env::var("STACKCTL_TEST_REGISTRY");
    let registry = registry.unwrap_or_else(|_| "127.0.0.1:5000".to_owned());
    let prefix = format!("{registry}/{}", unique());
    // Docker 20.10 cannot pull zstd.
    let (context, store) = (context().await, TestStore::with(Compression::Gzip));
    let image = |service: &str, layers: &[&str]| Delivery {
        reference: format!("{prefix}/{service}:1").parse().unwrap(),
        ..store.delivery("", service, layers)
    };
    let images = [
        image("a", &["base", &format!("binary of {prefix}")]),
        image("b", &["base", &format!("other binary of {prefix}")]),
    ];
    let route = Route::Registry(prefix.clone());
    let report = delivered(&images, &route, &context).await;
    let layers: usize = ["a", "b"]
        .iter()
        .filter_map(|service| moved(&report, service))
        .map(|moved| moved.layers)
        .sum();
    assert_eq!(layers, 3, "the base was sent once: {report:?}");
    let report = delivered(&images, &route, &context).await;
    assert_eq!((moved(&report, "a"), moved(&report, "b")), (None, None));
    let pinned = report.images["a"].pinned.as_ref().unwrap().to_string();
    let _pulled = EngineImage(pinned.clone());
    run("docker", &["pull", "--quiet", &pinned]);

    let name = EngineImage(format!("{prefix}/c:1"));
    let built = image("c", &["base", "built by the engine"]);
    delivered(std::slice::from_ref(&built), &Route::Engine, &context).await;
    let built = Delivery {
        source: Source::Engine {
            reference: name.0.clone(),
            id: run("docker", &["inspect", "--format", "{{.Id}}", &name.0]),
        },
        ..built
    };
    let report = delivered(&[built], &route, &context).await;
    let pinned = report.images["c"].pinned.as_ref().unwrap().to_string();
    assert!(
        pinned.starts_with(&format!("{prefix}/c:1@sha256:")),
        "{pinned}"
    );
    run("docker", &["pull", "--quiet", &pinned]);
    EngineImage(pinned);
}
