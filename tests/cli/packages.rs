//! Images of Debian packages from an archive on this machine, by a user without any rights.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use oci_image::{Decompressor, Layout};

use crate::debian::{self, Archive};
use crate::pages;
use crate::workspace::{Run, Workspace};

const LOCK: &str = "services/pages/packages.lock";
/// Who owns nothing. Root runs the binary as this user; everybody else as himself.
const NOBODY: u32 = 65_534;

const UPDATE: &[&str] = &["build", "--update-packages", "--to", "oci:out"];
const BUILD: &[&str] = &["build", "--to", "oci:out"];

struct Scene {
    archive: Archive,
    workspace: Workspace,
}

impl Scene {
    fn new(packages: &[(&str, &str)]) -> Self {
        let archive = Archive::start();
        archive.publish(packages);
        let scene = Self {
            archive,
            workspace: pages::stack(""),
        };
        scene
            .workspace
            .write("keyring.gpg", scene.archive.keyring());
        scene.wants("[hello]");
        scene
    }

    fn wants(&self, packages: &str) {
        let build = format!("build:\n  packages: {packages}\n  suite: sid\n  entrypoint: [/x]\n");
        self.workspace.write(pages::PAGES, build);
        own(self.workspace.path());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let root = self.workspace.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stackctl"));
        command
            .args(arguments)
            .current_dir(root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", root)
            .env("DOCKER_HOST", "unix:///nowhere.sock")
            .env("STACKCTL_CACHE", pages::cache(&self.workspace))
            .env("STACKCTL_DEBIAN_MIRROR", &self.archive.uri)
            .env("STACKCTL_DEBIAN_KEYRING", root.join("keyring.gpg"));
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let output = self.command(arguments).output().expect("the binary runs");
        Run {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    fn succeeds(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{}", run.stderr);
        run
    }

    /// The files of the only layer of the image that was delivered.
    fn files(&self) -> BTreeMap<String, String> {
        let out = Layout::open(self.workspace.path().join("out")).expect("a layout");
        let names = out.names().expect("an index");
        let image = names.values().last().expect("an image");
        out.verify(image).expect("it is whole");
        let manifest = pages::manifest(&out, image);
        assert_eq!(manifest.layers.len(), 1);
        let blob = out.reader(&manifest.layers[0]).expect("it is there");
        let layer = Decompressor::new(blob, 1 << 20).expect("gzip");
        let mut archive = tar::Archive::new(layer);
        let mut files = BTreeMap::new();
        for entry in archive.entries().expect("a layer") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            files.insert(path, text);
        }
        files
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Gives everything to the user who runs the binary.
fn own(folder: &Path) {
    if !is_root() {
        return;
    }
    chown(folder, Some(NOBODY), Some(NOBODY)).expect("root may");
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            own(&entry.path());
        } else {
            chown(entry.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
        }
    }
}

#[test]
fn packages_are_locked_installed_and_updated() {
    let scene = Scene::new(&[("hello", "1.0"), ("other", "2")]);
    let missing = scene.run(BUILD);
    assert_eq!(missing.code, 2, "{}", missing.stderr);
    assert!(
        missing.stderr.contains("error[S0419]"),
        "{}",
        missing.stderr
    );

    let first = scene.succeeds(UPDATE);
    assert!(
        first.stderr.contains("1 packages locked"),
        "{}",
        first.stderr
    );
    let lock = fs::read_to_string(scene.workspace.path().join(LOCK)).expect("the lock file");
    assert!(lock.contains("hello 1.0 "), "{lock}");
    assert!(!lock.contains("other"), "{lock}");
    let files = scene.files();
    assert_eq!(files["usr/share/hello/version"], "1.0");
    let status = &files["var/lib/dpkg/status"];
    for line in [
        "Package: hello",
        "Status: install ok installed",
        "Version: 1.0",
    ] {
        assert!(
            status.lines().any(|found| found == line),
            "{line}: {status}"
        );
    }
    let expected = "root:x:0:0:root:/root:/usr/sbin/nologin\n\
                    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
    assert_eq!(files["etc/passwd"], expected);

    // A newer version does nothing until it is asked for, and is told then.
    scene.archive.publish(&[("hello", "1.1"), ("other", "2")]);
    let cached = scene.succeeds(BUILD);
    assert!(cached.stderr.contains("1 cached"), "{}", cached.stderr);
    let update = scene.succeeds(UPDATE);
    assert!(
        update.stderr.contains("pages: hello 1.0 → 1.1"),
        "{}",
        update.stderr
    );
    pages::remove(&scene.workspace.path().join("out"));
    scene.succeeds(BUILD);
    assert_eq!(scene.files()["usr/share/hello/version"], "1.1");
}

#[test]
fn a_lock_file_of_other_packages_is_refused_where_they_are_named() {
    let scene = Scene::new(&[("hello", "1.0"), ("other", "2")]);
    scene.succeeds(UPDATE);
    scene.wants("[hello, other]");
    let stale = scene.run(BUILD);
    assert_eq!(stale.code, 2, "{}", stale.stderr);
    for words in [
        "error[S0419]: `services/pages/packages.lock` was written for other packages",
        "services/pages/service.yaml:2:13",
        "hint: run `stackctl build --update-packages` and commit the lock file",
    ] {
        assert!(stale.stderr.contains(words), "{words}: {}", stale.stderr);
    }
    let update = scene.succeeds(UPDATE);
    assert!(
        update.stderr.contains("pages: other 2 is new"),
        "{}",
        update.stderr
    );
}

#[test]
fn a_package_with_another_hash_is_refused() {
    let scene = Scene::new(&[("hello", "1.0")]);
    scene.succeeds(UPDATE);
    for folder in ["cache", "out"] {
        pages::remove(&scene.workspace.path().join(folder));
    }
    let good = debian::deb("hello", "1.0");
    let mut bad = good.clone();
    *bad.last_mut().expect("it is long") ^= 1;
    scene.archive.put(&debian::pool("hello", "1.0"), bad);
    let refused = scene.run(BUILD);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    for words in ["error[S0422]", "hello", "services/pages/service.yaml:2:13"] {
        assert!(
            refused.stderr.contains(words),
            "{words}: {}",
            refused.stderr
        );
    }
    let names = pages::images(&scene.workspace).names().expect("an index");
    assert!(names.is_empty(), "{names:?}");
    scene.archive.put(&debian::pool("hello", "1.0"), good);
    scene.succeeds(BUILD);
    assert_eq!(scene.files()["usr/share/hello/version"], "1.0");
}

#[test]
fn an_archive_that_somebody_else_signed_is_refused() {
    let scene = Scene::new(&[("hello", "1.0")]);
    let other = Archive::start();
    scene.workspace.write("keyring.gpg", other.keyring());
    let refused = scene.run(UPDATE);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("cannot be trusted"),
        "{}",
        refused.stderr
    );
    assert!(!scene.workspace.path().join(LOCK).exists());
}

#[test]
fn whoever_is_killed_while_it_downloads_begins_again() {
    let scene = Scene::new(&[("hello", "1.0")]);
    scene.succeeds(UPDATE);
    for folder in ["cache", "out"] {
        pages::remove(&scene.workspace.path().join(folder));
    }
    let package = debian::pool("hello", "1.0");
    let asked_before = scene.archive.was_asked(&package);
    assert!(asked_before, "the first build downloaded it");
    scene.archive.stall(Some(&package));
    let mut killed = scene
        .command(BUILD)
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    wait_for_half(&pages::cache(&scene.workspace));
    killed.kill().expect("it runs");
    killed.wait().expect("it is ours");
    scene.archive.stall(None);

    scene.succeeds(BUILD);
    assert_eq!(scene.files()["usr/share/hello/version"], "1.0");
    let pool = pages::cache(&scene.workspace).join("debian/pool");
    let packages: Vec<PathBuf> = entries(&pool);
    let expected = debian::deb("hello", "1.0");
    assert_eq!(packages.len(), 1, "{packages:?}");
    assert_eq!(fs::read(&packages[0]).expect("it is ours"), expected);
}

/// Until half of the package has come.
fn wait_for_half(cache: &Path) {
    let start = Instant::now();
    let folder = cache.join("debian/tmp");
    let has_begun = || {
        let mut files = entries(&folder).into_iter();
        files.any(|file| fs::metadata(file).is_ok_and(|found| found.len() > 0))
    };
    while !has_begun() {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing came");
        sleep(Duration::from_millis(10));
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
