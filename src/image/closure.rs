//! What a cargo service is compiled from, found without starting cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::did_you_mean;
use crate::stack::{CargoBuild, CargoInput, ServiceName, Stack};

use super::batch::{Batch, batches};
use super::cache_key::Inputs;
use super::cargo_config::CargoConfig;
use super::environment::Environment;
use super::features::Features;
use super::files::{Files, read_error};
use super::input_error::InputError;
use super::lexical::relative;
use super::lockfile::{CARGO_LOCK, Key, Locked, Lockfile, plain};
use super::target::{STATIC_FLAGS, Target};
use super::walk::Links;
use super::workspace::Workspace;

/// What the cargo services of a stack have in common, read once.
#[derive(Debug)]
pub(crate) struct CargoInputs {
    workspace: Workspace,
    lock: Lockfile,
    compiler: String,
    config: CargoConfig,
    environment: Environment,
    /// By triple, what the linker brings.
    linkers: BTreeMap<&'static str, BTreeMap<String, String>>,
    /// Folders of packages that cargo's configuration puts in the place of others.
    overrides: BTreeMap<String, PathBuf>,
    batches: BTreeMap<ServiceName, Arc<Resolved>>,
}

/// A batch of services and what cargo made of it.
#[derive(Debug)]
struct Resolved {
    selection: Vec<String>,
    features: Features,
    /// Variables that one of its services declares: all of them are compiled in one run, which sees them.
    variables: BTreeSet<String>,
}

/// How the features of a batch are found: (repository, batch, cargo's arguments, what decides them).
pub(crate) type Resolve<'a> =
    &'a dyn Fn(&Path, &Batch<'_>, &[String], &str) -> Result<Features, InputError>;

/// What lies around a stack.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// The variables of the user.
    pub environment: &'a Environment,
    /// How features are found.
    pub resolve: Resolve<'a>,
}

/// What one cargo service is made from.
#[derive(Debug)]
pub(crate) struct Closure {
    /// Everything but the content of files.
    pub inputs: Inputs,
    /// Folders of the packages whose files count.
    pub folders: BTreeSet<PathBuf>,
    /// Files beside them.
    pub files: Vec<PathBuf>,
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
        surroundings: Surroundings<'_>,
    ) -> Result<Self, InputError> {
        let Surroundings {
            environment,
            resolve,
        } = surroundings;
        // Folders above it count, too.
        let root =
            fs::canonicalize(files.root()).map_err(|source| read_error(files.root(), source))?;
        let config = CargoConfig::load(&root, environment.cargo_home().as_deref())?;
        let text = lock_text(&root, build)?;
        let mut inputs = Self {
            workspace: Workspace::load(&root, &config, &build.span)?,
            lock: Lockfile::parse(&text)?,
            compiler: super::compiler::version(&root, &config, environment)?,
            config,
            environment: environment.clone(),
            linkers: BTreeMap::new(),
            overrides: BTreeMap::new(),
            batches: BTreeMap::new(),
        };
        inputs.add_overrides(&root)?;
        let binaries = |package: &str| {
            let manifest = inputs.workspace.package(package);
            manifest.map_or_else(BTreeSet::new, |manifest| manifest.binaries(&root))
        };
        for batch in batches(stack, binaries) {
            for member in &batch.members {
                inputs.check(member.build, &root)?;
                // What is wrong with the lock file is said better here than by cargo.
                inputs.locked(member.build)?;
            }
            for triple in batch.triples() {
                let found = super::linker::inputs(&root, triple, &inputs.config, environment);
                inputs.linkers.insert(triple, found);
            }
            let resolved = Arc::new(inputs.resolve(&batch, &text, &root, resolve)?);
            let members = batch.members.iter();
            inputs
                .batches
                .extend(members.map(|member| (member.service.clone(), Arc::clone(&resolved))));
        }
        Ok(inputs)
    }

    /// `paths = ["../serde"]`: a package, or a folder of packages.
    fn add_overrides(&mut self, root: &Path) -> Result<(), InputError> {
        for folder in self.config.overrides() {
            let below = fs::read_dir(&folder).into_iter().flatten().flatten();
            let below = below.map(|entry| entry.path()).filter(|path| path.is_dir());
            for folder in below.chain([folder.clone()]).collect::<Vec<_>>() {
                let folder = relative(root, &folder);
                if let Some(manifest) = self.workspace.adopt(&folder)? {
                    self.overrides.insert(manifest.name.clone(), folder);
                }
            }
        }
        Ok(())
    }

    fn resolve(
        &self,
        batch: &Batch<'_>,
        lock: &str,
        root: &Path,
        resolve: Resolve<'_>,
    ) -> Result<Resolved, InputError> {
        let selection = batch.selection(|package| {
            let manifest = self.workspace.package(package);
            manifest.is_some_and(|manifest| manifest.has_default_features())
        });
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
        for (_, fingerprint) in self.config.fingerprints() {
            hasher.update(fingerprint.as_bytes());
        }
        let features = resolve(root, batch, &selection, &hasher.finalize().to_hex())?;
        let builds = batch.members.iter().map(|member| member.build);
        Ok(Resolved {
            selection,
            features,
            variables: builds.flat_map(CargoBuild::variables).collect(),
        })
    }

    /// Everything a service is compiled from, with the local packages made known.
    fn locked(&mut self, build: &CargoBuild) -> Result<BTreeMap<Key<'_>, &Locked>, InputError> {
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
        files: &Files,
    ) -> Result<Closure, InputError> {
        let batch = Arc::clone(&self.batches[service]);
        let mut closure = Closure {
            inputs: Inputs::default(),
            folders: BTreeSet::new(),
            files: Vec::new(),
            labels: self.labels(build),
            selection: batch.selection.clone(),
        };
        let found: Vec<Locked> = self.locked(build)?.into_values().cloned().collect();
        for package in found {
            self.add_package(&mut closure, &package, &batch.features);
        }
        self.add_options(&mut closure.inputs, build, targets);
        self.add_machine(&mut closure.inputs, build, targets);
        for variable in &batch.variables {
            let digest = self.environment.declared(variable);
            closure.inputs.add("env", variable, digest);
        }
        for input in &build.inputs {
            if let CargoInput::Path { path, span } = input {
                let found = files.named(path, Links::Followed, "the input", span)?;
                closure
                    .files
                    .extend(found.into_iter().map(|found| found.path));
            }
        }
        Ok(closure)
    }

    fn add_package(&self, closure: &mut Closure, package: &Locked, features: &Features) {
        let name = self.lock.name_of(package);
        let inputs = &mut closure.inputs;
        if let Some(features) = features.of(&format!("{} {}", package.name, package.version)) {
            inputs.add("features", &name, features);
        }
        if !package.is_local() {
            inputs.add("lock", &name, package.fingerprint());
        }
        let is_here = package.is_local() || self.overrides.contains_key(&package.name);
        if is_here && let Some(manifest) = self.workspace.package(&package.name) {
            closure.folders.insert(manifest.folder.clone());
            inputs.add("manifest", &package.name, manifest.fingerprint());
            inputs.add("workspace", &package.name, manifest.inherited());
        }
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
        inputs.add("option", "flags", STATIC_FLAGS.join(" "));
        let settings = self.workspace.settings(&build.profile);
        inputs.add("cargo", "workspace", settings.unwrap_or_default());
    }

    /// Compiler, linker, C library, configuration and variables.
    fn add_machine(&self, inputs: &mut Inputs, build: &CargoBuild, targets: &[Target]) {
        inputs.add("cargo", "compiler", self.compiler.as_str());
        for target in targets {
            let triple = target.triple;
            for (name, digest) in self.linkers.get(triple).into_iter().flatten() {
                inputs.add("linker", &format!("{name} for {triple}"), digest.as_str());
            }
        }
        for (file, digest) in self.config.fingerprints() {
            inputs.add("config", file, digest);
        }
        for (name, digest) in self.environment.counted() {
            inputs.add("env", name, digest);
        }
        // Unlike the others it is often set to what is so anyway.
        let incremental = self.environment.get("CARGO_INCREMENTAL");
        let is_default = self.workspace.is_incremental(&build.profile);
        if let Some(set) = incremental.filter(|set| (*set != "0") != is_default) {
            inputs.add("env", "CARGO_INCREMENTAL", set);
        }
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
            let value = manifest.field(field)?;
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
    let dependencies = manifest.dependencies();
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
            && workspace.adopt(folder)?.is_none()
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

fn lock_text(root: &Path, build: &CargoBuild) -> Result<String, InputError> {
    match fs::read_to_string(root.join(CARGO_LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(InputError::NoLock {
            span: build.span.clone(),
        }),
        text => text.map_err(|source| read_error(Path::new(CARGO_LOCK), source)),
    }
}
