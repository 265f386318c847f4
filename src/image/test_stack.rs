//! Stacks for the tests of images, without the loader.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{SourceFile, Span};
use crate::stack::{
    Build, CargoBuild, ClusterTarget, CommandBuild, DockerfileBuild, Environment, Service,
    ServiceType, Stack, WorkloadKind,
};
use crate::yaml::{Node, Value};

/// A service file that spans point into.
pub(super) fn span() -> Span {
    let file: Arc<SourceFile> = SourceFile::new("services/a/service.yaml", "build: { cargo: a }\n");
    Span::new(&file, 9..17)
}

/// A stack called `seedling` in `root`.
pub(super) fn stack(root: &Path, services: &[(&str, Build)]) -> Stack {
    let map = || Node {
        span: span(),
        value: Value::Map(Vec::new()),
    };
    let service = |name: &str, build: &Build| Service {
        name: name.parse().unwrap(),
        source: map(),
        build: build.clone(),
        kind: WorkloadKind::Deployment,
        ports: BTreeMap::new(),
        service_type: ServiceType::ClusterIp,
        forward: BTreeMap::new(),
        env: BTreeMap::new(),
        volumes: BTreeMap::new(),
        resources: map(),
        probes: Default::default(),
        ready_within: Duration::from_secs(30),
        needs: Vec::new(),
        values: map(),
    };
    Stack {
        root: root.to_owned(),
        name: "seedling".parse().unwrap(),
        values: map(),
        environment: Environment {
            name: "local".parse().unwrap(),
            span: span(),
            cluster: ClusterTarget::Local,
            namespace: "seedling".parse().unwrap(),
            registry: None,
            protected: false,
            values: map(),
            secrets: BTreeMap::new(),
        },
        disabled: [].into(),
        services: services
            .iter()
            .map(|(name, build)| (name.parse().unwrap(), service(name, build)))
            .collect(),
    }
}

/// `build: { cargo: PACKAGE }`
pub(super) fn cargo(package: &str) -> Build {
    cargo_with(package, &[], true)
}

/// The same with features.
pub(super) fn cargo_with(package: &str, features: &[&str], default_features: bool) -> Build {
    let build = CargoBuild {
        features: features.iter().map(|&feature| feature.to_owned()).collect(),
        default_features,
        ..CargoBuild::new(package, span())
    };
    Build::Native(Box::new(build.into()))
}

/// `build: { dockerfile: … }` with the Dockerfile's folder as context.
pub(super) fn dockerfile(path: &str) -> Build {
    Build::Dockerfile(DockerfileBuild::new(path.into(), span()))
}

/// `build: { command: […], inputs: […] }`
pub(super) fn command(command: &[&str], inputs: &[&str]) -> Build {
    Build::Command(CommandBuild {
        command: command.iter().map(|&part| part.to_owned()).collect(),
        inputs: inputs.iter().map(Into::into).collect(),
        span: span(),
    })
}

/// Writes files below `root`.
pub(super) fn write(root: &Path, files: &[(&str, &str)]) {
    for (file, text) in files {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// A workspace of the services `a` and `b` over the library `kit`; `a` tests with `insta`.
pub(super) fn workspace(root: &Path) {
    let manifest = |name: &str, rest: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion.workspace = true\nedition = \"2024\"\n{rest}"
        )
    };
    write(
        root,
        &[
            (
                "Cargo.toml",
                "[workspace]\nresolver = \"3\"\nmembers = [\"services/*\", \"crates/kit\"]\n\
                 [workspace.package]\nversion = \"0.1.0\"\nlicense = \"MIT\"\n\
                 [workspace.dependencies]\nkit = { path = \"crates/kit\" }\nserde = \"1\"\nrand = \"0.9\"\n\
                 [workspace.lints.rust]\nunsafe_code = \"forbid\"\n\
                 [profile.release]\nstrip = true\n[profile.dev]\nopt-level = 1\n",
            ),
            (
                "services/a/Cargo.toml",
                &manifest(
                    "a",
                    "[dependencies]\nkit.workspace = true\nserde.workspace = true\n[dev-dependencies]\ninsta = \"1\"\n",
                ),
            ),
            ("services/a/src/main.rs", "fn main() { println!(\"a\"); }\n"),
            ("services/a/service.yaml", "build: { cargo: a }\n"),
            (
                "services/b/Cargo.toml",
                &manifest(
                    "b",
                    "[target.'cfg(unix)'.dependencies]\nrand.workspace = true\n",
                ),
            ),
            ("services/b/src/main.rs", "fn main() { println!(\"b\"); }\n"),
            ("crates/kit/Cargo.toml", &manifest("kit", "")),
            ("crates/kit/src/lib.rs", "//! kit\n"),
            ("Cargo.lock", LOCK),
            (".gitignore", "/target\n"),
        ],
    );
}

const LOCK: &str = r#"version = 4

[[package]]
name = "a"
version = "0.1.0"
dependencies = ["insta", "kit", "serde"]

[[package]]
name = "b"
version = "0.1.0"
dependencies = ["rand"]

[[package]]
name = "insta"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "i1"

[[package]]
name = "kit"
version = "0.1.0"

[[package]]
name = "rand"
version = "0.9.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "r1"

[[package]]
name = "serde"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "s1"
"#;
