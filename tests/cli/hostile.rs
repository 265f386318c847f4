//! `build` where the machine is against it: each run makes the right image or says what is wrong and what to do.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::workspace::{Run, Workspace};

const FILES: &[(&str, &str)] = &[
    ("stack.yaml", "name: shop\nservices: [pages]\n"),
    ("environments/local.yaml", "cluster: local\n"),
    (
        "services/pages/service.yaml",
        "build: { files: { pages: /srv }, entrypoint: [/srv/run] }\n",
    ),
    ("pages/index.html", "<p>hi\n"),
    ("pages/run", "#!/bin/sh\n"),
];

/// A service of cargo beside the one of files.
const CARGO: &[(&str, &str)] = &[
    ("stack.yaml", "name: shop\nservices: [pages, hello]\n"),
    (
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"hello\", \"kit\"]\n",
    ),
    (
        "Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\ndependencies = [\n \"kit\",\n]\n\n\
        [[package]]\nname = \"kit\"\nversion = \"0.1.0\"\n",
    ),
    (
        "hello/Cargo.toml",
        "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
        [dependencies]\nkit = { path = \"../kit\" }\n",
    ),
    ("hello/src/main.rs", "fn main() { kit::say(); }\n"),
    (
        "kit/Cargo.toml",
        "[package]\nname = \"kit\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    ),
    ("kit/src/lib.rs", "pub fn say() { println!(\"one\"); }\n"),
    ("services/hello/service.yaml", "build: { cargo: hello }\n"),
];

/// A stack of files alone.
fn pages() -> Workspace {
    let workspace = Workspace::empty();
    for (path, text) in FILES {
        workspace.write(path, text);
    }
    workspace
}

fn pages_and_hello() -> Workspace {
    let workspace = pages();
    for (path, text) in CARGO {
        workspace.write(path, text);
    }
    workspace
}

/// The command, with a cache of its own.
fn command(workspace: &Workspace, arguments: &[&str]) -> Command {
    let root = workspace.path();
    let mut command = Command::new(env!("CARGO_BIN_EXE_stackctl"));
    command
        .current_dir(root)
        .env("STACKCTL_CACHE", root.join("cache"))
        .env("DOCKER_HOST", format!("unix://{}/no.sock", root.display()))
        .env_remove("STACKCTL_ENV")
        .args(arguments);
    command
}

fn finish(mut command: Command) -> Run {
    let output = command.output().expect("it runs");
    Run {
        code: output.status.code().expect("it ends by itself"),
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
    }
}

/// Builds into the folder `out`.
fn build(workspace: &Workspace) -> Value {
    report(finish(command(workspace, &TO_OUT)))
}

const TO_OUT: [&str; 5] = ["build", "--to", "oci:out", "--output", "json"];

fn report(run: Run) -> Value {
    assert_eq!(run.code, 0, "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("JSON")
}

fn digest(report: &Value, service: &str) -> String {
    let digest = report["images"][service]["manifest"]["digest"].as_str();
    digest.expect("a digest").to_owned()
}

/// An error with a code, its cause and what to do about it.
fn explained(run: &Run, words: &[&str]) {
    assert_eq!(run.code, 1, "{}", run.stderr);
    for word in ["error[S0", "hint:"].iter().chain(words) {
        let said = &run.stderr;
        assert!(said.contains(word), "{word:?} is missing in\n{said}");
    }
}

/// What the binary of `hello` prints, from the newest layer in `out`.
fn said_by_hello(workspace: &Workspace, report: &Value) -> String {
    let layout = oci_image::Layout::open(workspace.path().join("out")).expect("a layout");
    let manifest: oci_image::Descriptor =
        serde_json::from_value(report["images"]["hello"]["manifest"].clone()).expect("one");
    let image = layout
        .image(&manifest, &oci_image::Platform::linux(architecture()))
        .expect("an image");
    let layer = image.manifest.layers.last().expect("a layer");
    let layer = layout.reader(layer).expect("it is there");
    let layer = oci_image::Decompressor::new(layer, 1 << 30).expect("a layer");
    let mut archive = tar::Archive::new(layer);
    let unpacked = workspace.path().join("unpacked");
    archive.unpack(&unpacked).expect("it is unpacked");
    let output = Command::new(unpacked.join("hello")).output();
    fs::remove_dir_all(unpacked).expect("it was made");
    String::from_utf8(output.expect("it runs").stdout).expect("text")
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn set_time(path: &Path, time: SystemTime) {
    let file = File::open(path).expect("a file");
    file.set_modified(time).expect("it is ours");
}

#[test]
fn an_edit_with_an_old_time_is_compiled() {
    let workspace = pages_and_hello();
    let first = build(&workspace);
    assert_eq!(said_by_hello(&workspace, &first), "one\n");
    // As a clock that was wrong, `cp --preserve` and archives leave it.
    let library = workspace.path().join("kit/src/lib.rs");
    workspace.write("kit/src/lib.rs", "pub fn say() { println!(\"two\"); }\n");
    set_time(
        &library,
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
    );
    let second = build(&workspace);
    assert_eq!(second["images"]["hello"]["outcome"], "built");
    assert_eq!(said_by_hello(&workspace, &second), "two\n");
    // And back, with the store gone and a time in the far future.
    workspace.write("kit/src/lib.rs", "pub fn say() { println!(\"one\"); }\n");
    set_time(
        &library,
        SystemTime::now() + Duration::from_secs(1_000_000_000),
    );
    fs::remove_dir_all(workspace.path().join("cache")).expect("it was made");
    let third = build(&workspace);
    assert_eq!(digest(&third, "hello"), digest(&first, "hello"));
    assert_eq!(said_by_hello(&workspace, &third), "one\n");
}

#[test]
fn times_of_the_store_do_not_matter() {
    let workspace = pages();
    let first = build(&workspace);
    let decade = Duration::from_secs(10 * 365 * 24 * 3600);
    for time in [SystemTime::now() + decade, SystemTime::now() - decade] {
        for file in files(&workspace.path().join("cache")) {
            set_time(&file, time);
        }
        let again = build(&workspace);
        assert_eq!(digest(&again, "pages"), digest(&first, "pages"));
        assert_eq!(again["images"]["pages"]["outcome"], "cached", "{time:?}");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

#[test]
fn without_a_home_it_builds() {
    let workspace = pages_and_hello();
    let mut without = command(&workspace, &TO_OUT);
    // A cargo that rustup installed finds itself without the variable, too.
    let home = std::env::home_dir().expect("a home folder");
    let or_home = |name: &str, folder: &str| {
        std::env::var_os(name).unwrap_or_else(|| home.join(folder).into_os_string())
    };
    without
        .env("CARGO_HOME", or_home("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", or_home("RUSTUP_HOME", ".rustup"))
        .env_remove("HOME");
    let built = report(finish(without));
    assert_eq!(said_by_hello(&workspace, &built), "one\n");
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let workspace = pages();
    workspace.write("no-folder", "");
    for cache in [workspace.path().join("no-folder"), "/proc/stackctl".into()] {
        let mut run = command(&workspace, &TO_OUT);
        run.env("STACKCTL_CACHE", &cache);
        let run = finish(run);
        explained(
            &run,
            &["S0421", &cache.display().to_string(), "STACKCTL_CACHE"],
        );
        assert!(!workspace.path().join("out").exists());
    }
}

#[test]
fn a_cache_in_another_file_system_gives_the_same_image() {
    let workspace = pages();
    let elsewhere = tempfile::tempdir_in("/dev/shm").expect("memory");
    let device = |path: &Path| fs::metadata(path).expect("a folder").dev();
    assert_ne!(device(elsewhere.path()), device(workspace.path()));
    let mut there = command(&workspace, &TO_OUT);
    there.env("STACKCTL_CACHE", elsewhere.path());
    let there = report(finish(there));
    fs::rename(workspace.path().join("out"), workspace.path().join("other")).expect("a move");
    let here = build(&workspace);
    assert_eq!(digest(&there, "pages"), digest(&here, "pages"));
    let blobs = |layout: &str| {
        let blobs = files(&workspace.path().join(layout).join("blobs"));
        let contents = blobs
            .into_iter()
            .map(|file| fs::read(file).expect("a blob"));
        contents.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(blobs("other"), blobs("out"));
}

/// Runs the binary in the repository while nothing can be written there, not even by root, who tests run as in many
/// containers.
fn in_read_only(workspace: &Workspace, arguments: &[&str], cache: &Path) -> Run {
    let root = workspace.path();
    let set_mode = |mode| {
        fs::set_permissions(root, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let is_root = fs::metadata("/proc/self").expect("Linux").uid() == 0;
    let mount =
        "mount --bind \"$PWD\" \"$PWD\" && mount -o remount,ro,bind \"$PWD\" && cd \"$PWD\" &&";
    let script = format!("{} exec \"$0\" \"$@\"", if is_root { mount } else { "" });
    let mut command = Command::new(if is_root { "unshare" } else { "sh" });
    if is_root {
        command.args(["--mount", "sh"]);
    }
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_stackctl")])
        .args(arguments)
        .current_dir(root)
        .env("STACKCTL_CACHE", cache)
        .env("DOCKER_HOST", "unix:///nowhere.sock");
    set_mode(0o555);
    let run = finish(command);
    set_mode(0o755);
    run
}

#[test]
fn a_repository_that_is_read_only_is_enough_for_files() {
    let (workspace, cache) = (pages(), tempfile::tempdir().expect("a temporary folder"));
    let before = workspace.contents();
    let to = format!("oci:{}", cache.path().join("out").display());
    let arguments = ["build", "--to", &to, "--output", "json"];
    let built = report(in_read_only(&workspace, &arguments, cache.path()));
    assert_eq!(workspace.contents(), before);
    assert_eq!(digest(&built, "pages"), digest(&build(&workspace), "pages"));
}

#[test]
fn cargo_in_a_repository_that_is_read_only_is_refused_with_the_reason() {
    let (workspace, cache) = (pages_and_hello(), tempfile::tempdir().expect("a folder"));
    let run = in_read_only(&workspace, &["build", "--service", "hello"], cache.path());
    explained(&run, &["build.lock", "`target/`"]);
    let index = fs::read_to_string(cache.path().join("images/index.json")).unwrap_or_default();
    assert!(!index.contains("hello:"), "{index}");
}

/// The binary with files that end at 64 KiB: who writes on gets an error instead of a signal, as from a full disk.
fn on_a_full_disk(workspace: &Workspace, arguments: &str) -> Run {
    let script = format!(
        "ulimit -f 128; trap '' XFSZ; exec {} {arguments}",
        env!("CARGO_BIN_EXE_stackctl")
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .current_dir(workspace.path())
        .env("STACKCTL_CACHE", workspace.path().join("cache"))
        .env("DOCKER_HOST", "unix:///nowhere.sock");
    finish(command)
}

#[test]
fn a_full_disk_ends_a_delivery_and_leaves_nothing_half() {
    let workspace = pages();
    workspace.write("pages/large", noise(1_000_000));
    let undisturbed = build(&workspace);

    let archive = on_a_full_disk(&workspace, "build --to archive:images.tar");
    explained(&archive, &["S05", "images.tar", "File too large", "--to"]);
    assert!(!workspace.path().join("images.tar").exists());
    assert!(!workspace.path().join("images.tar.partial").exists());

    // In the file system of the store blobs are linked, which needs no room.
    let elsewhere = tempfile::tempdir_in("/dev/shm").expect("memory");
    let out = elsewhere.path().join("out");
    let to = format!("oci:{}", out.display());
    let copied = on_a_full_disk(&workspace, &format!("build --to {to}"));
    explained(&copied, &[&out.display().to_string(), "File too large"]);
    let layout = oci_image::Layout::open(&out).expect("a layout");
    assert!(layout.names().expect("an index").is_empty());
    assert_eq!(fs::read_dir(out.join("tmp")).expect("a folder").count(), 0);

    let arguments = ["build", "--to", &to, "--output", "json"];
    let again = report(finish(command(&workspace, &arguments)));
    assert_eq!(digest(&again, "pages"), digest(&undisturbed, "pages"));
    for image in layout.names().expect("an index").values() {
        layout.verify(image).expect("it is whole");
    }
}

/// Bytes that do not compress, the same each time (Vigna's splitmix64).
fn noise(length: u64) -> Vec<u8> {
    let mixed = |number: u64| {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as u8
    };
    (1..=length).map(mixed).collect()
}

/// A registry that has nothing and breaks every connection on which it is to get something; how many there were.
fn broken_registry() -> (String, Arc<AtomicUsize>) {
    const NOTHING: &[u8] =
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Heads of requests come whole.
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            if request[..length].starts_with(b"HEAD ") {
                stream.write_all(NOTHING).ok();
                continue;
            }
            counted.fetch_add(1, Ordering::Relaxed);
            // The beginning of an answer that never comes.
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").ok();
        }
    });
    (address, count)
}

#[test]
fn a_registry_that_breaks_off_is_tried_again_and_then_named() {
    let workspace = pages();
    let (registry, count) = broken_registry();
    workspace.write(
        "environments/local.yaml",
        format!("cluster: local\nregistry: {registry}/team\n"),
    );
    let run = finish(command(&workspace, &["build", "--to", "registry"]));
    explained(&run, &["S05", &registry]);
    assert!(count.load(Ordering::Relaxed) > 1, "it was tried again");
    // What was built is not built again.
    workspace.write("environments/local.yaml", "cluster: local\n");
    assert_eq!(build(&workspace)["images"]["pages"]["outcome"], "cached");
}
