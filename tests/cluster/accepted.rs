//! What is written here is accepted by others: skopeo, umoci, podman, the Docker engine, the registry, the cluster.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::cluster::{Deployed, Run, finish};
use crate::shop::{Random, Shop, docker, file_in_engine, output, test_registry, text};

const SERVICES: [&str; 2] = ["hello", "bulk"];
const COMPRESSIONS: [&str; 2] = ["gzip", "zstd"];

/// A stack with one image of its own content each, whose layers are compressed so.
fn shop(compression: &str) -> (Shop, Vec<u8>, Value) {
    let (shop, mut random) = (Shop::new(), Random::seeded());
    let content = random.bytes(1 << 20);
    shop.fill(&content);
    for (service, build) in [
        ("hello", "{ cargo: hello"),
        ("bulk", "{ files: { bulk: /srv }, entrypoint: [/srv/run]"),
    ] {
        shop.write(
            &format!("services/{service}/service.yaml"),
            format!("build: {build}, compression: {compression} }}\n"),
        );
    }
    let report = shop.build(&["--to", "oci:out"]);
    (shop, content, report)
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = output(program, arguments);
    String::from_utf8(output).expect("text").trim().to_owned()
}

/// `oci:FOLDER:NAME`, as skopeo and podman write an image of a layout.
fn in_layout(shop: &Shop, report: &Value, service: &str) -> String {
    let reference = text(&report["images"][service]["reference"]);
    format!("oci:{}:{reference}", shop.path().join("out").display())
}

fn digest(report: &Value, service: &str) -> String {
    text(&report["images"][service]["manifest"]["digest"])
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn skopeo_inspects_and_copies_the_layout() {
    for compression in COMPRESSIONS {
        let (shop, _, report) = shop(compression);
        for service in SERVICES {
            let image = in_layout(&shop, &report, service);
            let found: Value =
                serde_json::from_str(&run("skopeo", &["inspect", &image])).expect("JSON");
            assert_eq!(text(&found["Digest"]), digest(&report, service));
            assert_eq!(found["Os"], "linux");
            let title = &found["Labels"]["org.opencontainers.image.title"];
            assert_eq!(title, service, "{found}");

            // Into a layout as it is, and into a registry and back.
            let copy = format!("oci:{}:copy", shop.path().join("copy").display());
            run("skopeo", &["copy", "--preserve-digests", &image, &copy]);
            let there = format!("docker://{}", shop.reference(&format!("{service}:copied")));
            let plain = "--dest-tls-verify=false";
            run(
                "skopeo",
                &["copy", "--preserve-digests", plain, &copy, &there],
            );
            let raw = output(
                "skopeo",
                &["inspect", "--raw", "--tls-verify=false", &there],
            );
            let copied = oci_image::Digest::of(&raw).to_string();
            assert_eq!(copied, digest(&report, service));
        }
    }
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn umoci_unpacks_the_layout() {
    let (shop, content, report) = shop("gzip");
    for service in SERVICES {
        let image = in_layout(&shop, &report, service);
        // umoci takes no slash in a name.
        let plain = format!("oci:{}:plain", shop.path().join(service).display());
        run("skopeo", &["copy", "--preserve-digests", &image, &plain]);
        let layout = plain.strip_prefix("oci:").expect("its beginning");
        let bundle = shop.path().join(format!("{service}-bundle"));
        run(
            "umoci",
            &[
                "unpack",
                "--rootless",
                "--image",
                layout,
                &bundle.display().to_string(),
            ],
        );
        let root = bundle.join("rootfs");
        match service {
            "hello" => {
                let said = run(&root.join("hello").display().to_string(), &[]);
                assert_eq!(said, "hello 0");
            }
            _ => assert!(fs::read(root.join("srv/content")).expect("it is there") == content),
        }
        let config = fs::read_to_string(bundle.join("config.json")).expect("a configuration");
        let config: Value = serde_json::from_str(&config).expect("JSON");
        assert_eq!(config["process"]["user"]["uid"], 65532);
    }
}

/// podman in the stack's folder, with a storage of its own that needs nothing of the kernel.
fn podman(shop: &Shop, storage: &str, arguments: &[&str]) -> String {
    let folder = |name: &str| {
        let folder = shop.path().join(storage).join(name);
        folder.display().to_string()
    };
    let output = Command::new("podman")
        .current_dir(shop.path())
        .args(["--root", &folder("root"), "--runroot", &folder("run")])
        .args(["--storage-driver", "vfs"])
        .args(arguments)
        .output()
        .expect("podman is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "podman {arguments:?}: {errors}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn podman_pulls_the_layout_and_loads_the_archive() {
    for compression in COMPRESSIONS {
        let (shop, content, report) = shop(compression);
        let reference = |service: &str| text(&report["images"][service]["reference"]);
        for service in SERVICES {
            // It makes a name of the path, which may have no capitals as that of a temporary folder has.
            let image = format!("oci:out:{}", reference(service));
            let id = podman(&shop, "pulled", &["pull", "--quiet", &image]);
            let format = "{{.Digest}} {{.User}}";
            let found = podman(
                &shop,
                "pulled",
                &["image", "inspect", "--format", format, &id],
            );
            assert_eq!(found, format!("{} 65532:65532", digest(&report, service)));
        }
        shop.build(&["--to", "archive:images.tar"]);
        let loaded = podman(
            &shop,
            "loaded",
            &["load", "--quiet", "--input", "images.tar"],
        );
        for service in SERVICES {
            assert!(loaded.contains(&reference(service)), "{loaded}");
        }
        // What it unpacked is what was packed.
        let container = podman(&shop, "loaded", &["create", &reference("bulk")]);
        let from = format!("{container}:/srv/content");
        podman(&shop, "loaded", &["cp", &from, "unpacked"]);
        let unpacked = fs::read(shop.path().join("unpacked"));
        assert!(unpacked.expect("it is there") == content);
    }
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn docker_loads_the_archive_and_runs_what_is_in_it() {
    for compression in COMPRESSIONS {
        let (shop, content, _) = shop(compression);
        let report = shop.build(&["--to", "archive:images.tar"]);
        let archive = shop.path().join("images.tar").display().to_string();
        docker(&["load", "--quiet", "--input", &archive]);
        let reference = |service: &str| text(&report["images"][service]["reference"]);
        assert_eq!(docker(&["run", "--rm", &reference("hello")]), "hello 0");
        assert!(file_in_engine(&reference("bulk"), "/srv/content") == content);
        // The archive and the engine's own way give one image.
        let loaded = docker(&[
            "image",
            "inspect",
            "--format",
            "{{.Id}}",
            &reference("bulk"),
        ]);
        docker(&["rmi", "--force", &reference("bulk")]);
        shop.build(&["--to", "docker"]);
        let delivered = docker(&[
            "image",
            "inspect",
            "--format",
            "{{.Id}}",
            &reference("bulk"),
        ]);
        assert_eq!(loaded, delivered);
    }
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn packages_below_a_binary_run_in_docker() {
    let shop = Shop::new();
    shop.write(
        "services/hello/service.yaml",
        "build: { cargo: hello, packages: [tzdata], suite: bookworm }\n",
    );
    let mut update = shop.command(&[
        "build",
        "--update-packages",
        "--service",
        "hello",
        "--to",
        "docker",
    ]);
    // Packages that another run has downloaded need not be downloaded again.
    if let Some(cache) = std::env::var_os("STACKCTL_CACHE") {
        update.env("STACKCTL_CACHE", cache);
    }
    let run = finish(update);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let names = shop.names().engine;
    let name = names.keys().find(|name| name.starts_with("hello:"));
    let reference = shop.reference(name.expect("it was delivered"));
    assert_eq!(docker(&["run", "--rm", &reference]), "hello 0");
    let zone = file_in_engine(&reference, "/usr/share/zoneinfo/Etc/UTC");
    assert!(zone.starts_with(b"TZif"), "{zone:?}");
    let status = file_in_engine(&reference, "/var/lib/dpkg/status");
    let status = String::from_utf8_lossy(&status).into_owned();
    assert!(status.contains("Package: tzdata"), "{status}");
}

/// The stack with a registry between this machine and the cluster, and a cache of its own.
fn through_registry() -> Deployed {
    let deployed = Deployed::faulty();
    deployed.edit_source();
    deployed.replace(
        "environments/local.yaml",
        "cluster: local",
        &format!(
            "cluster: local\nregistry: {}/{}",
            test_registry(),
            deployed.namespace
        ),
    );
    deployed
}

fn up(deployed: &Deployed) -> Run {
    let mut command = deployed.command(&["up"]);
    command.env("STACKCTL_CACHE", deployed.path().join("cache"));
    let run = finish(command);
    assert_eq!(run.code, 0, "{}", run.stderr);
    run
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn the_cluster_pulls_by_digest_what_is_pinned() {
    let deployed = through_registry();
    let first = up(&deployed);
    assert!(first.stderr.contains("1 delivered"), "{}", first.stderr);
    let field = |path: &str| {
        let path = format!("jsonpath={{.items[0].{path}}}");
        deployed.kubectl(&["get", "pods", "--output", &path])
    };
    let image = field("spec.containers[0].image");
    let prefix = format!("{}/{}/subject:", test_registry(), deployed.namespace);
    assert!(image.starts_with(&prefix), "{image}");
    let (_, digest) = image.split_once('@').expect("it is pinned");
    let running = field("status.containerStatuses[0].imageID");
    assert!(running.ends_with(digest), "{running} is not {digest}");

    let second = up(&deployed);
    assert!(second.stderr.contains("0 built"), "{}", second.stderr);
    assert!(
        second.stderr.contains("0 delivered, 1 present"),
        "{}",
        second.stderr
    );
    assert_eq!(field("spec.containers[0].image"), image);

    // Another engine than the one that built it would pull the same.
    let pinned = format!("{}@{digest}", prefix.trim_end_matches(':'));
    docker(&["pull", "--quiet", &pinned]);
    let config = docker(&[
        "image",
        "inspect",
        "--format",
        "{{index .RepoDigests 0}}",
        &pinned,
    ]);
    assert!(config.ends_with(digest), "{config}");
}
