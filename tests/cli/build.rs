//! `build` without an engine: images are compiled and assembled here and written to a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::workspace::{Run, Workspace};

/// A service of this workspace, one of files alone, and what they need.
const FILES: &[(&str, &str)] = &[
    ("stack.yaml", "name: shop\nservices: [hello, pages]\n"),
    ("environments/local.yaml", "cluster: local\n"),
    (
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"hello\"]\n",
    ),
    (
        "Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\n",
    ),
    (
        "hello/Cargo.toml",
        "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    ),
    // The place of the source is part of a panic's message: it must not be part of the image.
    (
        "hello/src/main.rs",
        "fn main() { assert!(std::env::args().count() < 9, \"{}\", file!()); }\n",
    ),
    (
        "services/hello/service.yaml",
        "build: { cargo: hello, files: { hello/words: /etc/words } }\n",
    ),
    ("hello/words", "one\n"),
    (
        "services/pages/service.yaml",
        "build: { files: { pages: /srv }, entrypoint: [/srv/run] }\n",
    ),
    ("pages/index.html", "<p>hi\n"),
    ("pages/run", "#!/bin/sh\n"),
];

fn stack() -> Workspace {
    let workspace = Workspace::empty();
    for (path, text) in FILES {
        workspace.write(path, text);
    }
    workspace
}

/// The variables that let rustup and cargo find themselves, and a cache of this test's own.
fn variables(cache: &Path) -> Vec<(&'static str, String)> {
    let home = |name: &str, folder: &str| {
        std::env::var(name).unwrap_or_else(|_| {
            let home = std::env::home_dir().expect("a home folder");
            home.join(folder).display().to_string()
        })
    };
    vec![
        ("CARGO_HOME", home("CARGO_HOME", ".cargo")),
        ("RUSTUP_HOME", home("RUSTUP_HOME", ".rustup")),
        ("STACKCTL_CACHE", cache.display().to_string()),
    ]
}

fn run(workspace: &Workspace, arguments: &[&str]) -> Run {
    run_in(workspace, &workspace.path().join("cache"), arguments)
}

fn run_in(workspace: &Workspace, cache: &Path, arguments: &[&str]) -> Run {
    let variables = variables(cache);
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    workspace.run_with(arguments, &variables)
}

/// Builds into the folder `out` and returns what the images file says.
fn build(workspace: &Workspace) -> Value {
    let run = run(workspace, &["build", "--to", "oci:out", "--output", "json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("JSON")
}

fn digest<'a>(report: &'a Value, service: &str) -> &'a str {
    report["images"][service]["manifest"]["digest"]
        .as_str()
        .expect("a digest")
}

#[test]
fn two_clones_and_touched_files_give_the_same_images() {
    let (one, other) = (stack(), stack());
    let first = build(&one);
    let second = build(&other);
    for service in ["hello", "pages"] {
        assert_eq!(
            digest(&first, service),
            digest(&second, service),
            "{service}"
        );
        assert_eq!(first["images"][service]["outcome"], "built");
    }
    touch(one.path());
    let again = build(&one);
    for service in ["hello", "pages"] {
        assert_eq!(again["images"][service]["outcome"], "cached", "{service}");
    }
    // Without the store and cargo's results everything is made anew, from touched files.
    for folder in ["cache", "target", "out"] {
        fs::remove_dir_all(one.path().join(folder)).expect("it was made");
    }
    let anew = build(&one);
    for service in ["hello", "pages"] {
        assert_eq!(anew["images"][service]["outcome"], "built");
        assert_eq!(digest(&anew, service), digest(&first, service), "{service}");
    }
}

fn touch(folder: &Path) {
    let status = Command::new("find")
        .arg(folder)
        .args([
            "-type",
            "f",
            "-not",
            "-path",
            "*/target/*",
            "-exec",
            "touch",
            "-d",
            "2001-01-01",
            "{}",
            "+",
        ])
        .status();
    assert!(status.expect("find").success());
}

#[test]
fn each_kind_of_content_is_a_layer_and_the_folder_is_an_oci_layout() {
    let workspace = stack();
    let report = build(&workspace);
    let out = workspace.path().join("out");
    assert_eq!(
        fs::read_to_string(out.join("oci-layout")).expect("the marker"),
        r#"{"imageLayoutVersion":"1.0.0"}"#
    );
    let manifest = json(&blob(&out, digest(&report, "hello")));
    let media_types: Vec<&str> = manifest["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .map(|layer| layer["mediaType"].as_str().expect("text"))
        .collect();
    assert_eq!(
        media_types, ["application/vnd.oci.image.layer.v1.tar+gzip"; 2],
        "files, binary"
    );
    let config = json(&blob(
        &out,
        manifest["config"]["digest"].as_str().expect("a digest"),
    ));
    assert_eq!(
        config["config"]["Entrypoint"],
        serde_json::json!(["/hello"])
    );
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(
        config["rootfs"]["diff_ids"].as_array().map(Vec::len),
        Some(2)
    );
    let index = json(&out.join("index.json"));
    let named = |name: &str| {
        index["manifests"]
            .as_array()
            .expect("manifests")
            .iter()
            .any(|manifest| {
                manifest["annotations"]["org.opencontainers.image.ref.name"]
                    .as_str()
                    .is_some_and(|found| found.contains(name))
            })
    };
    assert!(named("shop/hello:") && named("shop/pages:"), "{index}");
}

fn blob(out: &Path, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").expect("a digest");
    out.join("blobs/sha256").join(hex)
}

fn json(file: &Path) -> Value {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn what_changed_is_explained() {
    let workspace = stack();
    build(&workspace);
    let unchanged = run(&workspace, &["build", "--explain"]);
    assert_eq!(unchanged.code, 0, "{}", unchanged.stderr);
    assert!(
        unchanged.stdout.contains("hello") && unchanged.stdout.contains("cached"),
        "{}",
        unchanged.stdout
    );
    workspace.write("pages/index.html", "<p>ho\n");
    workspace.write("pages/new.html", "");
    let run = run(&workspace, &["build", "--explain"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for words in ["file pages/index.html changed", "file pages/new.html added"] {
        assert!(
            run.stdout.contains(words),
            "{words} is missing in\n{}",
            run.stdout
        );
    }
    assert!(!run.stdout.contains("hello/src/main.rs"), "{}", run.stdout);
}

#[test]
fn builds_at_the_same_time_make_the_same_images() {
    let workspace = stack();
    let reports: Vec<Value> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..4)
            .map(|number| {
                let workspace = &workspace;
                scope.spawn(move || {
                    let out = format!("oci:out-{number}");
                    let run = run(workspace, &["build", "--to", &out, "--output", "json"]);
                    assert_eq!(run.code, 0, "{}", run.stderr);
                    serde_json::from_str(&run.stdout).expect("JSON")
                })
            })
            .collect();
        builds
            .into_iter()
            .map(|build| build.join().expect("it does not panic"))
            .collect()
    });
    for report in &reports {
        for service in ["hello", "pages"] {
            assert_eq!(digest(report, service), digest(&reports[0], service));
        }
    }
    assert_eq!(build(&workspace)["images"]["hello"]["outcome"], "cached");
}

#[test]
fn a_full_disk_leaves_no_image_and_the_next_build_makes_it() {
    let workspace = stack();
    workspace.write("pages/large", noise(3_000_000));
    let script = format!(
        // Files end at 64 KiB, and who writes on gets an error instead of a signal.
        "ulimit -f 128; trap '' XFSZ; exec {} build -s pages --to oci:out",
        env!("CARGO_BIN_EXE_stackctl")
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(workspace.path())
        .envs(variables(&workspace.path().join("cache")))
        .env("DOCKER_HOST", "unix:///nowhere.sock")
        .output()
        .expect("a shell");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        ["error[S04", "File too large", "STACKCTL_CACHE"]
            .iter()
            .all(|words| stderr.contains(words)),
        "{stderr}"
    );
    let index =
        fs::read_to_string(workspace.path().join("cache/images/index.json")).unwrap_or_default();
    assert!(!index.contains("pages:"), "{index}");
    let report = build(&workspace);
    assert_eq!(report["images"]["pages"]["outcome"], "built");
}

/// Bytes that do not compress, the same each time (Knuth's linear congruential generator).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn a_damaged_store_never_gives_a_wrong_image() {
    let workspace = stack();
    let report = build(&workspace);
    let images = workspace.path().join("cache/images");
    let manifest = json(&blob(&images, digest(&report, "pages")));
    let layer = blob(
        &images,
        manifest["layers"][0]["digest"].as_str().expect("a digest"),
    );
    let intact = fs::read(&layer).expect("the layer");

    // Another length is seen when it is looked for.
    fs::remove_file(&layer).expect("it is ours");
    fs::write(&layer, &intact[..intact.len() / 2]).expect("it is ours");
    fs::remove_dir_all(workspace.path().join("out")).expect("it was made");
    let healed = build(&workspace);
    assert_eq!(digest(&healed, "pages"), digest(&report, "pages"));
    assert_eq!(fs::read(&layer).expect("the layer"), intact);

    // Another content is seen when it is read, and the next build makes it anew.
    let mut flipped = intact.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    fs::remove_file(&layer).expect("it is ours");
    fs::write(&layer, flipped).expect("it is ours");
    fs::remove_dir_all(workspace.path().join("out")).expect("it was made");
    let refused = run(&workspace, &["build", "--to", "oci:out"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    for words in ["sha256:", "is corrupt", "run the command again"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    let healed = build(&workspace);
    assert_eq!(digest(&healed, "pages"), digest(&report, "pages"));
    let delivered = blob(
        &workspace.path().join("out"),
        manifest["layers"][0]["digest"].as_str().expect("a digest"),
    );
    assert_eq!(fs::read(delivered).expect("the layer"), intact);
}

#[test]
fn an_sbom_is_written_for_every_image_and_says_what_is_in_it() {
    let workspace = stack();
    let run = run(&workspace, &["build", "--to", "oci:out", "--sbom=lists"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let names = |service: &str| {
        let sbom = json(&workspace.path().join(format!("lists/{service}.spdx.json")));
        assert_eq!(sbom["spdxVersion"], "SPDX-2.3");
        let packages = sbom["packages"].as_array().expect("packages").clone();
        let name = |package: &Value| package["name"].as_str().expect("text").to_owned();
        packages.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(
        names("hello"),
        ["shop/hello", "hello", "/etc/words", "/hello"]
    );
    assert_eq!(
        names("pages"),
        ["shop/pages", "/srv/index.html", "/srv/run"]
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let workspace = stack();
    let run = run(
        &workspace,
        &[
            "build",
            "-s",
            "pages",
            "--to",
            "oci:out",
            "--sbom=stack.yaml",
        ],
    );
    assert_eq!(run.code, 1, "{}", run.stderr);
    let expected = "error[S0465]: failed to write stack.yaml/pages.spdx.json";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
}

#[test]
fn what_cannot_be_signed_is_refused_before_anything_is_built() {
    let workspace = stack();
    workspace.write("key.pem", "no key");
    for (arguments, code) in [
        (&["build", "--sign", "key.pem"][..], "S0466"),
        (&["build", "--sign", "key.pem", "--to", "oci:out"], "S0466"),
        (&["build", "--sign", "key.pem", "--to", "registry"], "S0461"),
        (
            &["build", "--sign", "none.pem", "--to", "registry"],
            "S0460",
        ),
        (
            &["build", "--sign", "env:NO_SUCH_KEY", "--to", "registry"],
            "S0460",
        ),
    ] {
        let run = run(&workspace, arguments);
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(
            run.stderr.contains(&format!("error[{code}]")),
            "{}",
            run.stderr
        );
    }
    assert!(
        !workspace.path().join("cache").exists(),
        "nothing was begun"
    );
}
