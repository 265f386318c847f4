//! The gateway and Prometheus: they answer, scanners find what is in them, nothing in them installs more, and they come
//! out the same from an empty store.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::build::{self, Build, Image};
use super::{STOP_LIMIT, passed};
use crate::test::container::{Container, Server, Volume};
use crate::{process, workspace};

struct Service {
    name: &'static str,
    port: &'static str,
    env: &'static [(&'static str, &'static str)],
    /// Programs that it does without.
    without: &'static [&'static str],
    /// Paths, and a part of what they answer.
    answers: [(&'static str, &'static str); 2],
}

const SERVICES: [Service; 2] = [
    Service {
        name: "gateway",
        port: "8404",
        env: &[
            ("PICTURE_ADDRESS", "picture:8080"),
            ("UPLOAD_ADDRESS", "upload:8080"),
            ("COUNTER_ADDRESS", "counter:8080"),
            ("BIRTHDAY_ADDRESS", "birthday:8080"),
            ("HITS_API_ADDRESS", "hits-api:8080"),
            ("API_KEYS", "key-0123456789abcdef"),
            ("BASIC_AUTH", "ann:password"),
            ("TRUSTED_NETWORKS", "10.0.0.0/8"),
            ("DRAIN_SECONDS", "1"),
        ],
        without: &[],
        answers: [
            ("/readyz", r#""status":"ready""#),
            ("/metrics", "haproxy_process_build_info{"),
        ],
    },
    Service {
        name: "prometheus",
        port: "9090",
        env: &[],
        without: &["sh", "busybox"],
        answers: [
            ("/-/ready", "Prometheus Server is Ready"),
            ("/metrics", "prometheus_build_info{"),
        ],
    },
];

/// Who both run as.
const USER: &str = "65532:65532";

/// Programs that install more.
const UNWANTED: [&str; 5] = ["apt", "apt-get", "dpkg", "dpkg-deb", "tar"];

/// Builds the images and checks them; `tools` is an image with busybox.
pub(super) fn run(tools: &str) -> Result<()> {
    let stack = workspace::root();
    let first = empty_store("first")?;
    let built = Build {
        stack: &stack,
        services: &SERVICES.map(|service| service.name),
        to: "docker",
        cache: Some(&first),
    };
    let images = built.run()?;
    for service in &SERVICES {
        let image = build::image(&images, service.name)?;
        check(service, &stack, image, tools)?;
    }
    passed("packages: an empty store gives the same images", || {
        let second = empty_store("second")?;
        let again = Build {
            to: &format!("oci:{}", second.join("delivered").display()),
            cache: Some(&second),
            ..built
        };
        let again = again.run()?;
        ensure!(again == images, "first {images:?}, then {again:?}");
        Ok(())
    })
}

/// A new cache that has nothing but the downloads of its predecessors.
fn empty_store(name: &str) -> Result<PathBuf> {
    let folder = workspace::cache().join("packages");
    let (downloads, store) = (folder.join("debian"), folder.join(name));
    if store.exists() {
        fs::remove_dir_all(&store).with_context(|| format!("cannot empty {}", store.display()))?;
    }
    for folder in [&downloads, &store] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    symlink(&downloads, store.join("debian"))?;
    Ok(store)
}

fn check(service: &Service, stack: &Path, image: &Image, tools: &str) -> Result<()> {
    let volume = Volume::create(service.name)?;
    let server = Server {
        image: &image.reference,
        user: USER,
        env: service.env,
        args: &[],
    };
    let server = server.start(&volume)?;
    let name = service.name;
    passed(&format!("{name}: answers"), || {
        answers(service, &server, tools)
    })?;
    let archive = workspace::cache().join(format!("{name}-{}.tar", std::process::id()));
    server.export(&archive)?;
    passed(&format!("{name}: scanners find its packages"), || {
        lists_packages(&stack.join("services").join(name), &archive)
    })?;
    passed(&format!("{name}: installs nothing"), || {
        installs_nothing(&archive, service.without)
    })?;
    fs::remove_file(&archive)?;
    passed(&format!("{name}: stops when it is asked to"), || {
        server.stop(STOP_LIMIT)
    })
}

fn answers(service: &Service, server: &Container, tools: &str) -> Result<()> {
    for (path, part) in service.answers {
        let is_there = || {
            let answer = server.get(tools, service.port, path)?;
            Ok(answer.is_some_and(|text| text.starts_with("HTTP/1.") && text.contains(part)))
        };
        server
            .wait_until(is_there)
            .with_context(|| format!("{path} does not answer with {part:?}"))?;
    }
    Ok(())
}

/// `dpkg`'s own file names the packages of the lock, with their versions, and no others.
fn lists_packages(service: &Path, archive: &Path) -> Result<()> {
    let status = tar(
        archive,
        &["--to-stdout", "--extract"],
        "var/lib/dpkg/status",
    )?;
    let lock = service.join("packages.lock");
    let lock =
        fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let (locked, listed) = (locked(&lock), listed(&status));
    ensure!(!locked.is_empty(), "the lock names no package");
    ensure!(locked == listed, "locked {locked:?}, listed {listed:?}");
    Ok(())
}

fn installs_nothing(archive: &Path, without: &[&str]) -> Result<()> {
    let files = tar(archive, &["--list"], "")?;
    ensure!(files.contains("usr/bin/"), "the archive is empty:\n{files}");
    let found: Vec<&str> = files
        .lines()
        .filter(|path| is_one_of(path, &UNWANTED) || is_one_of(path, without))
        .collect();
    ensure!(found.is_empty(), "it has {}", found.join(", "));
    Ok(())
}

/// Whether a path is that of a program of one of these names.
fn is_one_of(path: &str, programs: &[&str]) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    folder.ends_with("bin") && programs.contains(&name)
}

/// Name and version of each package of a lock.
fn locked(lock: &str) -> BTreeSet<(&str, &str)> {
    let words = lock.lines().map(|line| line.split(' '));
    words
        .filter_map(|mut words| match words.next() {
            Some("package") => Some((words.next()?, words.next()?)),
            _ => None,
        })
        .collect()
}

/// Name and version of each paragraph of `/var/lib/dpkg/status`.
fn listed(status: &str) -> BTreeSet<(&str, &str)> {
    status
        .split("\n\n")
        .filter_map(|paragraph| {
            let field = |name: &str| {
                let mut lines = paragraph.lines();
                lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            Some((field("Package")?, field("Version")?))
        })
        .collect()
}

fn tar(archive: &Path, action: &[&str], member: &str) -> Result<String> {
    let mut command = Command::new("tar");
    command.args(action).arg("--file").arg(archive);
    process::capture(command.args((!member.is_empty()).then_some(member)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_a_lock_and_of_dpkg_are_told() {
        let lock = "format 1\n\nleft-out adduser a\npackage a 1:2 amd64 sha256:0\npackage b 3-1 all sha256:1\n";
        let status =
            "Package: a\nStatus: install ok installed\nVersion: 1:2\n\nPackage: b\nVersion: 3-1\n";
        let expected = BTreeSet::from([("a", "1:2"), ("b", "3-1")]);
        assert_eq!(locked(lock), expected);
        assert_eq!(listed(status), expected);
    }

    #[test]
    fn programs_are_found_in_any_folder_of_programs() {
        let is_unwanted = |path| is_one_of(path, &UNWANTED);
        assert!(is_unwanted("usr/bin/dpkg"));
        assert!(is_unwanted("sbin/apt-get"));
        assert!(!is_unwanted("etc/dpkg"));
        assert!(!is_unwanted("usr/bin/dpkgs"));
    }
}
