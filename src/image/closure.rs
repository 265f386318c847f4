//! What a cargo service is compiled from, found without starting cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::did_you_mean;
use crate::stack::{CargoBuild, ServiceName, Stack};

use super::batch::{Batch, batches};
use super::cache_key::Inputs;
use super::features::Features;
use super::files::{Files, read_error};
use super::input_error::InputError;
use super::lockfile::{Locked, Lockfile, plain};
use super::manifests::{self, Workspace, canonical};
use super::target::Target;

/// Parts of `.cargo/config.toml` that change no binary.
const CONFIG_WITHOUT_EFFECT: [&str; 9] = [
    "alias",
    "cache",
    "cargo-new",
    "credential-alias",
    "doc",
    "future-incompat-report",
    "http",
    "net",
    "term",
];

/// What the cargo services of a stack have in common, read once.
#[derive(Debug)]
pub(crate) struct CargoInputs {
    workspace: Workspace,
    lock: Lockfile,
    compiler: String,
    config: String,
    batches: BTreeMap<ServiceName, Arc<Resolved>>,
}

/// A batch of services and what cargo made of it.
#[derive(Debug)]
struct Resolved {
    selection: Vec<String>,
    features: Features,
}

/// How the features of a batch are found: (repository, batch, cargo's arguments, what decides them).
pub(crate) type Resolve<'a> =
    &'a dyn Fn(&Path, &Batch<'_>, &[String], &str) -> Result<Features, InputError>;

/// What one cargo service is made from.
#[derive(Debug)]
pub(crate) struct Closure {
    /// Everything but the content of files.
    pub inputs: Inputs,
    /// Folders of the packages whose files count.
    pub folders: BTreeSet<PathBuf>,
    /// Labels of the image, from the package's manifest.
    pub labels: BTreeMap<String, String>,
    /// Cargo's arguments that choose packages and features.
    pub selection: Vec<String>,
}

impl CargoInputs {
    /// Reads manifests and lock file of the stack and asks for the compiler; `build` is named where they are not
    /// there.
    pub(crate) fn load(
        files: &Files,
        stack: &Stack,
        build: &CargoBuild,
        resolve: Resolve<'_>,
    ) -> Result<Self, InputError> {
        let root = files.root();
        let workspace = Workspace::load(root, &build.span)?;
        let text = match fs::read_to_string(root.join("Cargo.lock")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(InputError::NoLock {
                    span: build.span.clone(),
                });
            }
            text => text.map_err(|source| read_error(Path::new("Cargo.lock"), source))?,
        };
        let lock = Lockfile::parse(&text).map_err(|error| {
            manifests::syntax_error(Path::new("Cargo.lock"), text.clone(), &error)
        })?;
        let mut inputs = Self {
            workspace,
            lock,
            compiler: super::compiler::version(root)?,
            config: config(root)?,
            batches: BTreeMap::new(),
        };
        for batch in batches(stack) {
            for member in &batch.members {
                inputs.check(member.build, root)?;
                // What is wrong with the lock file is said better here than by cargo.
                inputs.locked(member.build)?;
            }
            let resolved = Arc::new(inputs.resolve(&batch, &text, root, resolve)?);
            let members = batch.members.iter();
            inputs
                .batches
                .extend(members.map(|member| (member.service.clone(), Arc::clone(&resolved))));
        }
        Ok(inputs)
    }

    fn resolve(
        &self,
        batch: &Batch<'_>,
        lock: &str,
        root: &Path,
        resolve: Resolve<'_>,
    ) -> Result<Resolved, InputError> {
        let selection = batch.selection(|package| self.workspace.has_default_features(package));
        let mut hasher = blake3::Hasher::new();
        for part in [
            lock,
            &self.workspace.resolution(),
            &self.compiler,
            &selection.join(" "),
        ] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        for triple in batch.triples() {
            hasher.update(triple.as_bytes());
        }
        let features = resolve(root, batch, &selection, &hasher.finalize().to_hex())?;
        Ok(Resolved {
            selection,
            features,
        })
    }

    /// Everything a service is compiled from, by name and version, with the local packages made known.
    fn locked(
        &mut self,
        build: &CargoBuild,
    ) -> Result<BTreeMap<(&str, &str), &Locked>, InputError> {
        let Some(start) = self.lock.local(&build.package) else {
            return Err(InputError::NotLocked {
                package: build.package.clone(),
                span: build.span.clone(),
            });
        };
        let workspace = &mut self.workspace;
        self.lock
            .closure(start, |package| compiled_with(workspace, package, build))
    }

    /// The closure of one service.
    pub(crate) fn closure(
        &mut self,
        service: &ServiceName,
        build: &CargoBuild,
        targets: &[Target],
    ) -> Result<Closure, InputError> {
        let mut closure = Closure {
            inputs: Inputs::default(),
            folders: BTreeSet::new(),
            labels: BTreeMap::new(),
            selection: Vec::new(),
        };
        let batch = Arc::clone(&self.batches[service]);
        let found: Vec<(String, Locked)> = self
            .locked(build)?
            .into_values()
            .map(|package| {
                (
                    format!("{} {}", package.name, package.version),
                    package.clone(),
                )
            })
            .collect();
        for (name, package) in found {
            if let Some(features) = batch.features.of(&name) {
                closure.inputs.add("features", &name, features);
            }
            if !package.is_local() {
                closure.inputs.add("lock", &name, package.fingerprint());
            } else if let Some(manifest) = self.workspace.package(&package.name) {
                closure.folders.insert(manifest.folder.clone());
                let inherited = self.workspace.inherited(manifest);
                closure
                    .inputs
                    .add("manifest", &package.name, manifest.fingerprint());
                closure.inputs.add("workspace", &package.name, inherited);
            }
        }
        self.add_options(&mut closure.inputs, build, targets);
        closure.labels = self.labels(build);
        closure.selection.clone_from(&batch.selection);
        Ok(closure)
    }

    /// Package, binary and profile exist.
    fn check(&self, build: &CargoBuild, root: &Path) -> Result<(), InputError> {
        let span = build.span.clone();
        let Some(manifest) = self.workspace.package(&build.package) else {
            let suggestion = did_you_mean(&build.package, self.workspace.names());
            return Err(InputError::UnknownPackage {
                package: build.package.clone(),
                suggestion: suggestion.map(str::to_owned),
                span,
            });
        };
        let binaries = manifest.binaries(root);
        let mut wanted = std::iter::once(&build.bin).chain(&build.bins);
        if let Some(unknown) = wanted.find(|bin| !binaries.contains(*bin)) {
            return Err(InputError::UnknownBin {
                package: build.package.clone(),
                bin: unknown.clone(),
                known: binaries.into_iter().collect(),
                span,
            });
        }
        if self.workspace.settings(&build.profile).is_none() {
            return Err(InputError::UnknownProfile {
                profile: build.profile.clone(),
                span,
            });
        }
        Ok(())
    }

    fn add_options(&self, inputs: &mut Inputs, build: &CargoBuild, targets: &[Target]) {
        let features: BTreeSet<&str> = build.features.iter().map(String::as_str).collect();
        let features: Vec<&str> = features.into_iter().collect();
        inputs.add("option", "package", build.package.as_str());
        inputs.add("option", "bin", build.bin.as_str());
        inputs.add("option", "bins", build.bins.join(" "));
        inputs.add("option", "profile", build.profile.as_str());
        inputs.add("option", "features", features.join(" "));
        inputs.add(
            "option",
            "default features",
            build.default_features.to_string(),
        );
        let triples: Vec<&str> = targets.iter().map(|target| target.triple).collect();
        inputs.add("option", "targets", triples.join(" "));
        inputs.add("option", "flags", super::target::STATIC_FLAGS.join(" "));
        inputs.add("cargo", "compiler", self.compiler.as_str());
        inputs.add("cargo", "config", self.config.as_str());
        inputs.add("cargo", "environment", environment());
        let settings = self.workspace.settings(&build.profile);
        inputs.add("cargo", "workspace", settings.unwrap_or_default());
    }

    fn labels(&self, build: &CargoBuild) -> BTreeMap<String, String> {
        let Some(manifest) = self.workspace.package(&build.package) else {
            return BTreeMap::new();
        };
        [
            ("version", "version"),
            ("description", "description"),
            ("licenses", "license"),
            ("source", "repository"),
        ]
        .into_iter()
        .filter_map(|(label, field)| {
            let value = self.workspace.field(manifest, field)?;
            Some((
                format!("org.opencontainers.image.{label}"),
                value.to_owned(),
            ))
        })
        .collect()
    }
}

/// Which dependencies of a local package a build uses; each must be in the lock file.
pub(super) fn compiled_with(
    workspace: &mut Workspace,
    package: &Locked,
    build: &CargoBuild,
) -> Result<BTreeSet<String>, InputError> {
    let not_locked = || InputError::NotLocked {
        package: package.name.clone(),
        span: build.span.clone(),
    };
    let manifest = workspace.package(&package.name).ok_or_else(not_locked)?;
    let dependencies = workspace.dependencies(manifest);
    let locked: BTreeSet<String> = package.dependency_names().map(plain).collect();
    for dependency in &dependencies {
        if !locked.contains(&plain(&dependency.package)) {
            return Err(InputError::StaleLock {
                package: package.name.clone(),
                dependency: dependency.package.clone(),
                span: build.span.clone(),
            });
        }
        if let Some(folder) = &dependency.folder
            && !workspace.adopt(folder)?
        {
            return Err(InputError::MissingCrate {
                path: folder.join("Cargo.toml"),
                package: package.name.clone(),
                span: build.span.clone(),
            });
        }
    }
    Ok(dependencies
        .iter()
        .map(|dependency| plain(&dependency.package))
        .collect())
}

/// `.cargo/config.toml` of the repository; those of the user and of folders above differ between machines.
fn config(root: &Path) -> Result<String, InputError> {
    for file in [".cargo/config.toml", ".cargo/config"] {
        if let Some(mut table) = manifests::read(root, Path::new(file))? {
            for part in CONFIG_WITHOUT_EFFECT {
                table.remove(part);
            }
            return Ok(canonical(&toml::Value::Table(table)));
        }
    }
    Ok(String::new())
}

/// Variables that change what the compiler makes.
fn environment() -> String {
    let counts = |name: &str| {
        matches!(
            name,
            "RUSTFLAGS" | "CARGO_ENCODED_RUSTFLAGS" | "CARGO_BUILD_RUSTFLAGS"
        ) || name.starts_with("CARGO_PROFILE_")
            || (name.starts_with("CARGO_TARGET_")
                && name != "CARGO_TARGET_DIR"
                && !name.ends_with("_RUNNER"))
    };
    let variables: BTreeMap<String, String> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| counts(name))
        .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
        .collect();
    variables
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect()
}
