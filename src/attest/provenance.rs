//! How an image was made: an in-toto statement with SLSA's provenance (both version 1). Pure.
//!
//! Only named facts go in. The environment does not: it holds secrets, and no build here depends on it unseen.

use oci_image::Digest;
use serde_json::{Map, Value, json};

use super::Document;
use super::contents::Base;
use super::origin::Origin;
use super::subject::Subject;

/// Says what the parameters mean; described in `docs/builds.md`.
const BUILD_TYPE: &str = "https://stackctl.dev/build/v1";
/// What in-toto calls it.
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// What in-toto calls its statements.
pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The media type of a statement.
pub(crate) const STATEMENT: &str = "application/vnd.in-toto+json";

/// Who built it where nobody says otherwise: whoever ran the program. SLSA's levels above 1 need a builder that its
/// users cannot change.
pub const LOCAL_BUILDER: &str = "https://stackctl.dev/builders/local";

/// How an image was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// What was asked for.
    pub parameters: Parameters,
    /// Digest of all inputs: the tag.
    pub inputs: String,
    /// The compiler, where something was compiled.
    pub toolchain: Option<Toolchain>,
    /// Of `Cargo.lock`, where cargo built.
    pub cargo_lock: Option<Digest>,
    /// Of the lock file of Debian packages, by its path in the repository.
    pub packages_lock: Option<(String, Digest)>,
    /// The image that it starts from.
    pub base: Option<Base>,
    /// The sources.
    pub origin: Origin,
    /// Such as [`LOCAL_BUILDER`].
    pub builder: String,
}

/// What a user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The service.
    pub service: String,
    /// `cargo`, `files`, `packages`, `dockerfile`, `command`.
    pub build: String,
    /// Cargo's package.
    pub package: Option<String>,
    /// Its binaries in the image.
    pub binaries: Vec<String>,
    /// Cargo's profile.
    pub profile: Option<String>,
    /// Features that were asked for.
    pub features: Vec<String>,
}

/// What compiled it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The first line of `rustc -vV`.
    pub rustc: String,
    /// For what: `x86_64-unknown-linux-musl`.
    pub target: String,
}

impl Provenance {
    /// The statement about `subject`.
    #[must_use]
    pub fn statement(&self, subject: &Subject) -> Document {
        let predicate = json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": self.parameters.to_json(subject),
                "internalParameters": self.internal(),
                "resolvedDependencies": self.dependencies(),
            },
            "runDetails": self.run_details(),
        });
        Document {
            predicate_type: PREDICATE_TYPE,
            media_type: STATEMENT,
            content: statement(subject, PREDICATE_TYPE, &predicate),
        }
    }

    fn internal(&self) -> Value {
        let mut internal = Map::new();
        internal.insert("inputs".to_owned(), json!(self.inputs));
        if let Some(toolchain) = &self.toolchain {
            internal.insert("target".to_owned(), json!(toolchain.target));
        }
        Value::Object(internal)
    }

    fn dependencies(&self) -> Vec<Value> {
        let file = |name: &str, digest: Digest| json!({ "name": name, "digest": { "sha256": digest.hex() } });
        let base = |base: &Base| {
            json!({
                "name": "base",
                "uri": format!("oci://{}@{}", base.name, base.digest),
                "digest": { "sha256": base.digest.hex() },
            })
        };
        let packages_lock = self.packages_lock.as_ref();
        [
            self.source(),
            self.cargo_lock.map(|digest| file("Cargo.lock", digest)),
            packages_lock.map(|(path, digest)| file(path, *digest)),
            self.toolchain.as_ref().map(Toolchain::to_json),
            self.base.as_ref().map(base),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn source(&self) -> Option<Value> {
        let revision = self.origin.revision.as_ref()?;
        let mut source = json!({ "name": "source", "digest": { "gitCommit": revision.commit } });
        if let Some(remote) = &revision.remote {
            source["uri"] = json!(format!("git+{remote}@{}", revision.commit));
        }
        if revision.dirty {
            source["annotations"] = json!({ "dirty": true });
        }
        Some(source)
    }

    fn run_details(&self) -> Value {
        json!({
            "builder": {
                "id": self.builder,
                "version": { "stackctl": env!("CARGO_PKG_VERSION") },
            },
        })
    }
}

impl Parameters {
    fn to_json(&self, subject: &Subject) -> Value {
        let mut parameters = Map::new();
        let mut add = |name: &str, value: Value| parameters.insert(name.to_owned(), value);
        add("service", json!(self.service));
        add("build", json!(self.build));
        add("platform", json!(subject.platform.to_string()));
        if let Some(package) = &self.package {
            add("package", json!(package));
            add("binaries", json!(self.binaries));
            add("features", json!(self.features));
        }
        if let Some(profile) = &self.profile {
            add("profile", json!(profile));
        }
        Value::Object(parameters)
    }
}

impl Toolchain {
    fn to_json(&self) -> Value {
        // `rustc 1.95.0 (59807616e 2026-04-14)`
        let version = self.rustc.split(' ').nth(1).unwrap_or_default();
        json!({
            "name": "rustc",
            "uri": format!("pkg:generic/rustc@{version}"),
            "annotations": { "version": self.rustc },
        })
    }
}

/// An in-toto statement; its maps are sorted, so that the same facts give the same bytes.
pub(crate) fn statement(subject: &Subject, predicate_type: &str, predicate: &Value) -> Vec<u8> {
    let statement = json!({
        "_type": STATEMENT_TYPE,
        "subject": [{
            "name": subject.name,
            "digest": { "sha256": subject.manifest.digest.hex() },
        }],
        "predicateType": predicate_type,
        "predicate": predicate,
    });
    serde_json::to_vec(&statement).expect("a value is JSON")
}

#[cfg(test)]
pub(crate) fn provenance() -> Provenance {
    Provenance {
        parameters: Parameters {
            service: "counter".into(),
            build: "cargo".into(),
            package: Some("counter".into()),
            binaries: vec!["counter".into()],
            profile: Some("release".into()),
            features: vec!["tls".into()],
        },
        inputs: "0123456789abcdef0123".into(),
        toolchain: Some(Toolchain {
            rustc: "rustc 1.95.0 (59807616e 2026-04-14)".into(),
            target: "x86_64-unknown-linux-gnu".into(),
        }),
        cargo_lock: Some(Digest::of(b"abc")),
        packages_lock: None,
        base: None,
        origin: super::origin::origin(),
        builder: LOCAL_BUILDER.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::subject::counter;
    use super::*;

    fn parsed(provenance: &Provenance) -> Value {
        serde_json::from_slice(&provenance.statement(&counter()).content).unwrap()
    }

    #[test]
    fn a_statement_says_what_was_built_from_what() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let expected = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{
                "name": "registry.example.com/shop/counter",
                "digest": { "sha256": Digest::of(b"manifest").hex() },
            }],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": "https://stackctl.dev/build/v1",
                    "externalParameters": {
                        "service": "counter",
                        "build": "cargo",
                        "platform": "linux/amd64",
                        "package": "counter",
                        "binaries": ["counter"],
                        "features": ["tls"],
                        "profile": "release",
                    },
                    "internalParameters": {
                        "inputs": "0123456789abcdef0123",
                        "target": "x86_64-unknown-linux-gnu",
                    },
                    "resolvedDependencies": [
                        {
                            "name": "source",
                            "uri": format!("git+https://example.com/shop.git@{commit}"),
                            "digest": { "gitCommit": commit },
                        },
                        {
                            "name": "Cargo.lock",
                            "digest": { "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
                        },
                        {
                            "name": "rustc",
                            "uri": "pkg:generic/rustc@1.95.0",
                            "annotations": { "version": "rustc 1.95.0 (59807616e 2026-04-14)" },
                        },
                    ],
                },
                "runDetails": {
                    "builder": {
                        "id": "https://stackctl.dev/builders/local",
                        "version": { "stackctl": env!("CARGO_PKG_VERSION") },
                    },
                },
            },
        });
        assert_eq!(parsed(&provenance()), expected);
    }

    #[test]
    fn an_image_of_packages_has_a_base_and_a_lock() {
        let mut provenance = provenance();
        provenance.parameters = Parameters {
            service: "redis".into(),
            build: "packages".into(),
            ..Parameters::default()
        };
        (provenance.toolchain, provenance.cargo_lock) = (None, None);
        provenance.packages_lock =
            Some(("services/redis/packages.lock".into(), Digest::of(b"abc")));
        provenance.base = Some(Base {
            name: "docker.io/library/debian".into(),
            digest: Digest::of(b"abc"),
        });
        let predicate = &parsed(&provenance)["predicate"];
        let names: Vec<&str> = predicate["buildDefinition"]["resolvedDependencies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|dependency| dependency["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["source", "services/redis/packages.lock", "base"]);
    }

    #[test]
    fn a_dirty_tree_is_called_so() {
        let mut provenance = provenance();
        provenance.origin.revision.as_mut().unwrap().dirty = true;
        let source =
            &parsed(&provenance)["predicate"]["buildDefinition"]["resolvedDependencies"][0];
        assert_eq!(source["annotations"], json!({ "dirty": true }));
        provenance.origin.revision = None;
        let first = &parsed(&provenance)["predicate"]["buildDefinition"]["resolvedDependencies"][0];
        assert_eq!(first["name"], "Cargo.lock");
    }
}
