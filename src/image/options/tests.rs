//! Every option is an input: another one gives another tag, and the same ones the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use oci_image::{Compression, Digest, Platform};

use super::super::closure::Surroundings;
use super::super::environment::Environment;
use super::super::features::Features;
use super::super::input_error::ImageError;
use super::super::packages;
use super::super::spec::{ImageSpec, specs_with};
use super::super::test_stack::{cargo, command, span, stack, workspace, write};
use crate::diagnostic::{Exit, Explain};
use crate::stack::{
    Base, Build, BuildSecret, BuildSecretSource, CargoBuild, Copied, DockerfileBuild, Folder,
    NativeBuild, PackagesBuild, RunOptions, ServiceName, Stack, User, WantedPlatform,
};

/// Without asking cargo.
fn specs_of(stack: &Stack) -> Result<BTreeMap<ServiceName, ImageSpec>, ImageError> {
    let surroundings = Surroundings {
        environment: &Environment::of_process(),
        resolve: &|_, _, _, _| Ok(Features::default()),
    };
    specs_with(stack, None, surroundings)
}

/// The tag of a service `a` that is built so in `root`.
fn tag(root: &Path, build: &Build) -> String {
    let stack = stack(root, &[("a", build.clone())]);
    let specs = specs_of(&stack);
    let specs = specs.unwrap_or_else(|error| panic!("{build:?}: {error}"));
    specs["a"].inputs.digest().to_string()
}

/// An image of files with one of everything.
fn full() -> NativeBuild {
    let mut build = NativeBuild::from(CargoBuild::new("unused", span()));
    build.cargo = None;
    build.base = Some(base("debian:12", b"one"));
    build.run = RunOptions {
        user: "100:100".to_owned(),
        variables: [("A".to_owned(), "1".to_owned())].into(),
        entrypoint: texts(&["/srv/run", "--once"]),
        arguments: texts(&["--fast"]),
        working_dir: Some("/srv".to_owned()),
        stop_signal: Some("SIGINT".to_owned()),
    };
    build.files.copies = [copied("web", "/srv")].into();
    let user = User {
        uid: 100,
        home: "/data".to_owned(),
    };
    build.files.users = [("app".to_owned(), user)].into();
    let folder = Folder {
        owner: Some("app".to_owned()),
        mode: 0o700,
    };
    build.files.folders = [("/data".to_owned(), folder)].into();
    build.files.links = [("/run-it".to_owned(), "srv/run".to_owned())].into();
    build
}

fn base(name: &str, content: &[u8]) -> Base {
    let digest = Digest::of(content);
    Base {
        reference: format!("{name}@{digest}").parse().unwrap(),
        digest,
        span: span(),
    }
}

fn copied(from: &str, to: &str) -> (PathBuf, Copied) {
    let copied = Copied {
        to: to.to_owned(),
        span: span(),
    };
    (from.into(), copied)
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn native(build: NativeBuild) -> Build {
    Build::Native(Box::new(build))
}

/// A change of one option.
type Change<T> = (&'static str, fn(&mut T));

/// Every change gives a tag of its own, and no change the same one.
fn check<T: Clone>(root: &Path, build: &T, wrap: fn(T) -> Build, changes: &[Change<T>]) {
    let mut tags = vec![("nothing", tag(root, &wrap(build.clone())))];
    assert_eq!(
        tag(root, &wrap(build.clone())),
        tags[0].1,
        "nothing changed"
    );
    for (what, change) in changes {
        let mut other = build.clone();
        change(&mut other);
        let tag = tag(root, &wrap(other));
        for (known, known_tag) in &tags {
            assert_ne!(tag, *known_tag, "{what} gives the tag of {known}");
        }
        tags.push((what, tag));
    }
}

#[test]
fn of_an_image_that_is_assembled() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("web/run", "1"), ("other/run", "1")]);
    let changes: &[Change<NativeBuild>] = &[
        ("base", |build| build.base = None),
        ("base name", |build| {
            build.base = Some(base("debian:bookworm", b"one"))
        }),
        ("base digest", |build| {
            build.base = Some(base("debian:12", b"two"))
        }),
        ("user", |build| build.run.user = "101:100".to_owned()),
        ("variables", |build| {
            build.run.variables.insert("B".to_owned(), String::new());
        }),
        ("a variable", |build| {
            build.run.variables.insert("A".to_owned(), "2".to_owned());
        }),
        ("entrypoint", |build| {
            build.run.entrypoint = texts(&["/srv/run"])
        }),
        ("arguments", |build| {
            build.run.arguments = texts(&["--slow"])
        }),
        ("entrypoint, not arguments", |build| {
            build.run.entrypoint = texts(&["/srv/run", "--once", "--fast"]);
            build.run.arguments = Vec::new();
        }),
        ("workingDir", |build| build.run.working_dir = None),
        ("stopSignal", |build| build.run.stop_signal = None),
        ("a user's number", |build| {
            build.files.users.get_mut("app").unwrap().uid = 101;
        }),
        ("a user's home", |build| {
            build.files.users.get_mut("app").unwrap().home = "/".to_owned();
        }),
        ("a folder's mode", |build| {
            build.files.folders.get_mut("/data").unwrap().mode = 0o750;
        }),
        ("a folder's owner", |build| {
            build.files.folders.get_mut("/data").unwrap().owner = None;
        }),
        ("a folder's place", |build| {
            let folder = build.files.folders.remove("/data").unwrap();
            build.files.folders.insert("/date".to_owned(), folder);
        }),
        ("links", |build| {
            build
                .files
                .links
                .insert("/run-it".to_owned(), "srv".to_owned());
        }),
        ("a file's target", |build| {
            build.files.copies = [copied("web", "/www")].into()
        }),
        ("a file's name", |build| {
            build.files.copies = [copied("other", "/srv")].into()
        }),
        ("compression", |build| build.compression = Compression::Zstd),
        ("another platform", |build| {
            build.platforms = vec![wanted(Platform::linux("riscv64"))];
        }),
        ("two platforms", |build| {
            build.platforms = ["amd64", "riscv64"]
                .map(|name| wanted(Platform::linux(name)))
                .into();
        }),
    ];
    check(root.path(), &full(), native, changes);
    // This machine's platform, written or not.
    let mut written = full();
    written.platforms = vec![wanted(super::host_platform())];
    assert_eq!(
        tag(root.path(), &native(written)),
        tag(root.path(), &native(full()))
    );
}

fn wanted(platform: Platform) -> WantedPlatform {
    WantedPlatform {
        platform,
        span: span(),
    }
}

/// What of the repository is in an image or is given to its build.
#[test]
fn of_the_files_that_are_named() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            (".gitignore", "web\n"),
            ("web/.gitignore", "*\n"),
            ("web/run", "1"),
            ("web/deep/er/x", "1"),
            ("shared/x", "1"),
        ],
    );
    std::os::unix::fs::symlink("../shared", root.path().join("web/shared")).unwrap();
    let files = native(full());
    let command = command(&["make"], &["web"]);
    let tags = || [tag(root.path(), &files), tag(root.path(), &command)];
    type Edit = fn(&Path);
    let table: &[(&str, Edit, [bool; 2])] = &[
        (
            "a file git ignores",
            |root| write(root, &[("web/run", "2")]),
            [true, true],
        ),
        (
            "a deep one",
            |root| write(root, &[("web/deep/er/x", "2")]),
            [true, true],
        ),
        (
            "a new one",
            |root| write(root, &[("web/new", "")]),
            [true, true],
        ),
        (
            "what a link leads to",
            |root| write(root, &[("shared/x", "2")]),
            [false, true],
        ),
        (
            "a link",
            |root| {
                fs::remove_file(root.join("web/shared")).unwrap();
                std::os::unix::fs::symlink("../shared/.", root.join("web/shared")).unwrap();
            },
            [true, false],
        ),
        (
            "git's own",
            |root| write(root, &[("web/.git/config", "")]),
            [false, false],
        ),
        (
            "something else",
            |root| write(root, &[("y", "")]),
            [false, false],
        ),
    ];
    for (what, edit, expected) in table {
        let before = tags();
        edit(root.path());
        let after = tags();
        let changed = [before[0] != after[0], before[1] != after[1]];
        assert_eq!(changed, *expected, "{what}");
    }
}

#[test]
fn of_packages() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("web/run", "1")]);
    let mut build = full();
    build.packages = Some(PackagesBuild {
        names: texts(&["redis-server"]),
        without: Vec::new(),
        only: [("coreutils".to_owned(), texts(&["/bin/ls"]))].into(),
        drop: texts(&["/usr/share/doc/**"]),
        applets: texts(&["sh"]),
        unchecked: texts(&["/usr/bin/x"]),
        suite: "bookworm".to_owned(),
        lock: "packages.lock".into(),
        span: span(),
    });
    fn of(build: &mut NativeBuild) -> &mut PackagesBuild {
        build.packages.as_mut().unwrap()
    }
    let changes: &[Change<NativeBuild>] = &[
        ("the names", |build| of(build).names = texts(&["busybox"])),
        ("without", |build| of(build).without = texts(&["adduser"])),
        ("only", |build| {
            of(build).only = [("coreutils".to_owned(), texts(&["/bin/cat"]))].into();
        }),
        ("only of another", |build| {
            of(build).only = [("dash".to_owned(), texts(&["/bin/ls"]))].into();
        }),
        ("drop", |build| of(build).drop = texts(&["/usr/share/**"])),
        ("applets", |build| of(build).applets = texts(&["sh", "cat"])),
        ("unchecked", |build| of(build).unchecked = Vec::new()),
        ("the suite", |build| of(build).suite = "trixie".to_owned()),
    ];
    let mut tags = Vec::new();
    for (what, change) in
        std::iter::once(&("nothing", (|_| {}) as fn(&mut NativeBuild))).chain(changes)
    {
        let mut other = build.clone();
        change(&mut other);
        let lock = packages::empty_lock(other.packages.as_ref().unwrap());
        fs::write(root.path().join("packages.lock"), lock).unwrap();
        let tag = tag(root.path(), &native(other));
        assert!(!tags.contains(&tag), "{what}");
        tags.push(tag);
    }
}

#[test]
fn of_a_dockerfile() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("web/Dockerfile", "FROM scratch AS one\n"),
            ("web/Other", "FROM scratch AS one\n"),
            ("web/in/x", ""),
        ],
    );
    let secret = |variable: &str| BuildSecret {
        source: BuildSecretSource::Env(variable.to_owned()),
        span: span(),
    };
    let mut build = DockerfileBuild::new("web/Dockerfile".into(), span());
    build.args = [("A".to_owned(), "1".to_owned())].into();
    build.secrets = [("token".to_owned(), secret("TOKEN"))].into();
    let changes: &[Change<DockerfileBuild>] = &[
        ("the Dockerfile", |build| {
            build.dockerfile = "web/Other".into()
        }),
        ("the context", |build| build.context = "web/in".into()),
        ("target", |build| build.target = Some("one".to_owned())),
        ("args", |build| build.args.clear()),
        ("an arg", |build| {
            build.args.insert("A".to_owned(), "2".to_owned());
        }),
        ("platform", |build| {
            build.platform = Some(Platform::linux("riscv64"))
        }),
        ("secrets", |build| build.secrets.clear()),
        ("the name of a secret", |build| {
            let secret = build.secrets.remove("token").unwrap();
            build.secrets.insert("key".to_owned(), secret);
        }),
        ("ssh", |build| build.ssh = Some(span())),
    ];
    check(root.path(), &build, Build::Dockerfile, changes);
    let same: &[Change<DockerfileBuild>] = &[
        ("where a secret's value is", |build| {
            build.secrets.get_mut("token").unwrap().source =
                BuildSecretSource::Env("OTHER".to_owned());
        }),
        ("cacheFrom", |build| {
            build.cache_from = texts(&["r.example.com/web:1"])
        }),
        ("this machine's platform", |build| {
            build.platform = Some(super::host_platform());
        }),
    ];
    let before = tag(root.path(), &Build::Dockerfile(build.clone()));
    for (what, change) in same {
        let mut other = build.clone();
        change(&mut other);
        assert_eq!(
            tag(root.path(), &Build::Dockerfile(other)),
            before,
            "{what}"
        );
    }
}

#[test]
fn of_what_this_machine_is() {
    let root = tempfile::tempdir().unwrap();
    workspace(root.path());
    write(
        root.path(),
        &[("web/run", "1"), ("Dockerfile", "FROM scratch\n")],
    );
    let builds = [
        cargo("a"),
        native(full()),
        Build::Dockerfile(DockerfileBuild::new("Dockerfile".into(), span())),
        command(&["make"], &["web"]),
    ];
    for build in builds {
        let stack = stack(root.path(), &[("a", build)]);
        let specs = specs_of(&stack).unwrap();
        let host = super::host_platform().to_string();
        assert!(
            specs["a"].inputs.contains("platform", &host),
            "{:?}",
            specs["a"]
        );
    }
}

#[test]
fn a_package_anywhere_counts_and_one_without_sources_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    workspace(root.path());
    let kit = elsewhere.path().join("kit");
    let file = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
    let manifest =
        file("crates/kit/Cargo.toml").replace("version.workspace = true", "version = \"0.1.0\"");
    write(
        &kit,
        &[("Cargo.toml", &manifest), ("src/lib.rs", "//! kit\n")],
    );
    let text = file("Cargo.toml").replace("\"crates/kit\"]", "]").replace(
        "path = \"crates/kit\"",
        &format!("path = \"{}\"", kit.display()),
    );
    write(root.path(), &[("Cargo.toml", &text)]);
    let before = tag(root.path(), &cargo("a"));
    write(&kit, &[("src/lib.rs", "//! another\n")]);
    assert_ne!(tag(root.path(), &cargo("a")), before);
    fs::remove_dir_all(kit.join("src")).unwrap();
    let stack = stack(root.path(), &[("a", cargo("a"))]);
    let error = specs_of(&stack).unwrap_err();
    let expected = format!("the package in `{}` has no sources there", kit.display());
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.exit(), Exit::BadInput);
    assert_eq!(error.diagnostics()[0].labels.len(), 1);
}
