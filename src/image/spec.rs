//! What image each service runs: its reference holds the digest of everything it is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::stack::{Build, CargoBuild, CommandBuild, DockerfileBuild, Service, ServiceName, Stack};

use super::cache_key::Inputs;
use super::closure::CargoInputs;
use super::context::Context;
use super::files::Files;
use super::input_error::{ImageError, InputError};

/// The image of one service.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    /// Whose.
    pub service: ServiceName,
    /// `repository:tag`; the repository is `<registry prefix or stack name>/<service>`, the tag the digest of
    /// `inputs`. For `build: { image: … }` what is written there.
    pub reference: String,
    /// How it is made.
    pub build: Build,
    /// What it is made from; empty for `build: { image: … }`.
    pub inputs: Inputs,
    /// Labels of the image from the package's manifest (`org.opencontainers.image.*`).
    pub labels: BTreeMap<String, String>,
}

/// Inputs of one service, before files are digested.
#[derive(Default)]
struct Gathered {
    inputs: Inputs,
    labels: BTreeMap<String, String>,
    folders: BTreeSet<PathBuf>,
    files: Vec<PathBuf>,
}

/// The images of all services, or of those in `only`. Reads manifests, lock file and sources, starts nothing but
/// (once per compiler) `rustc -vV`.
pub fn specs(
    stack: &Stack,
    only: Option<&[ServiceName]>,
) -> Result<BTreeMap<ServiceName, ImageSpec>, ImageError> {
    let mut errors = Vec::new();
    let mut files = Files::new(&stack.root);
    let mut gathered = BTreeMap::new();
    let mut cargo = None;
    for service in stack.services.values() {
        if only.is_some_and(|only| !only.contains(&service.name)) {
            continue;
        }
        match gather(service, &files, &mut cargo) {
            Ok(Some(found)) => {
                gathered.insert(&service.name, found);
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(ImageError(errors));
    }
    digest_files(&mut files, &mut gathered)?;
    Ok(gathered
        .into_iter()
        .map(|(name, found)| (name.clone(), spec(stack, &stack.services[name], found)))
        .collect())
}

/// `None` for a cargo service while the workspace itself is broken: that is reported once.
fn gather(
    service: &Service,
    files: &Files,
    cargo: &mut Option<Option<CargoInputs>>,
) -> Result<Option<Gathered>, InputError> {
    match &service.build {
        Build::Cargo(build) => of_cargo(build, files, cargo),
        Build::Dockerfile(build) => of_dockerfile(build, files).map(Some),
        Build::Command(build) => of_command(build, files).map(Some),
        Build::Image { .. } => Ok(Some(Gathered::default())),
    }
}

fn of_cargo(
    build: &CargoBuild,
    files: &Files,
    cargo: &mut Option<Option<CargoInputs>>,
) -> Result<Option<Gathered>, InputError> {
    if cargo.is_none() {
        *cargo = Some(None);
        *cargo = Some(Some(CargoInputs::load(files, build)?));
    }
    let Some(Some(cargo)) = cargo else {
        return Ok(None);
    };
    let closure = cargo.closure(build, files.root())?;
    Ok(Some(Gathered {
        inputs: closure.inputs,
        labels: closure.labels,
        folders: closure.folders,
        files: Vec::new(),
    }))
}

fn of_dockerfile(build: &DockerfileBuild, files: &Files) -> Result<Gathered, InputError> {
    let context = Context::read(files.root(), build)?;
    let mut inputs = Inputs::default();
    for (path, kind) in context.others()? {
        inputs.add("context", path, kind);
    }
    inputs.add("option", "dockerfile", build.dockerfile.to_string_lossy());
    inputs.add("option", "context", build.context.to_string_lossy());
    inputs.add(
        "option",
        "target",
        build.target.as_deref().unwrap_or_default(),
    );
    for (name, value) in &build.args {
        inputs.add("arg", name, value.as_str());
    }
    Ok(Gathered {
        inputs,
        files: context.files(build),
        ..Gathered::default()
    })
}

fn of_command(build: &CommandBuild, files: &Files) -> Result<Gathered, InputError> {
    let mut inputs = Inputs::default();
    for (place, argument) in build.command.iter().enumerate() {
        inputs.add("argument", &place.to_string(), argument.as_str());
    }
    let mut found = Vec::new();
    for input in &build.inputs {
        let below = files.below(input)?;
        if below.is_empty() && !files.root().join(input).exists() {
            return Err(InputError::Missing {
                what: "the input",
                path: input.clone(),
                span: build.span.clone(),
            });
        }
        found.extend(below);
    }
    Ok(Gathered {
        inputs,
        files: found,
        ..Gathered::default()
    })
}

fn digest_files(
    files: &mut Files,
    gathered: &mut BTreeMap<&ServiceName, Gathered>,
) -> Result<(), InputError> {
    let folders = gathered
        .values()
        .flat_map(|found| found.folders.iter().cloned())
        .collect();
    let of_packages = files.of_packages(&folders)?;
    for found in gathered.values_mut() {
        for folder in &found.folders {
            let files = of_packages.get(folder).into_iter().flatten();
            found.files.extend(files.cloned());
        }
    }
    files.digest(gathered.values().flat_map(|found| &found.files))?;
    for found in gathered.values_mut() {
        for file in &found.files {
            found
                .inputs
                .add("file", &file.to_string_lossy(), files.fingerprint(file));
        }
    }
    Ok(())
}

fn spec(stack: &Stack, service: &Service, found: Gathered) -> ImageSpec {
    let reference = match &service.build {
        Build::Image { reference, .. } => reference.clone(),
        _ => {
            let prefix = match &stack.environment.registry {
                Some(registry) => registry.prefix.as_str(),
                None => stack.name.as_str(),
            };
            format!("{prefix}/{}:{}", service.name, found.inputs.digest())
        }
    };
    ImageSpec {
        service: service.name.clone(),
        reference,
        build: service.build.clone(),
        inputs: found.inputs,
        labels: found.labels,
    }
}
