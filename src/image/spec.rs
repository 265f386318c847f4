//! What image each service runs: its reference holds the digest of everything it is made from.

use std::collections::BTreeMap;

use crate::diagnostic::Span;
use crate::stack::{Build, CargoBuild, NativeBuild, Service, ServiceName, Stack};

use super::cache_key::Inputs;
use super::closure::{CargoInputs, Surroundings};
use super::environment::Environment;
use super::features;
use super::files::Files;
use super::input_error::{ImageError, InputError};
use super::options::{self, Gathered};
use super::packages;
use super::target::{self, Target};

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
    /// Cargo's arguments that choose packages and features; empty where nothing is compiled.
    pub selection: Vec<String>,
    /// Labels of the image from the package's manifest (`org.opencontainers.image.*`).
    pub labels: BTreeMap<String, String>,
}

/// The images of all services, or of those in `only`. Reads manifests, lock files and sources, starts nothing but
/// `rustc -vV` once per compiler, the linker once per linker and `cargo tree` once per state of manifests and lock file.
pub fn specs(
    stack: &Stack,
    only: Option<&[ServiceName]>,
) -> Result<BTreeMap<ServiceName, ImageSpec>, ImageError> {
    let surroundings = Surroundings {
        environment: &Environment::of_process(),
        resolve: &features::unified,
    };
    specs_with(stack, only, surroundings)
}

/// As [`specs`], in other surroundings.
pub(super) fn specs_with(
    stack: &Stack,
    only: Option<&[ServiceName]>,
    surroundings: Surroundings<'_>,
) -> Result<BTreeMap<ServiceName, ImageSpec>, ImageError> {
    let mut errors = Vec::new();
    let mut files = Files::new(&stack.root);
    let mut gathered = BTreeMap::new();
    let mut cargo = CargoWorkspace {
        stack,
        surroundings,
        inputs: None,
    };
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
    digest_files(stack, &mut files, &mut gathered)?;
    Ok(gathered
        .into_iter()
        .map(|(name, found)| (name.clone(), spec(stack, &stack.services[name], found)))
        .collect())
}

/// What cargo services share, read when the first of them needs it.
struct CargoWorkspace<'a> {
    stack: &'a Stack,
    surroundings: Surroundings<'a>,
    /// The inner one is missing where the workspace itself is broken: that is reported once.
    inputs: Option<Option<CargoInputs>>,
}

impl CargoWorkspace<'_> {
    fn inputs(
        &mut self,
        files: &Files,
        build: &CargoBuild,
    ) -> Result<Option<&mut CargoInputs>, InputError> {
        if self.inputs.is_none() {
            self.inputs = Some(None);
            self.inputs = Some(Some(CargoInputs::load(
                files,
                self.stack,
                build,
                self.surroundings,
            )?));
        }
        Ok(self.inputs.as_mut().and_then(Option::as_mut))
    }
}

/// `None` for a cargo service while the workspace is broken.
fn gather(
    service: &Service,
    files: &Files,
    cargo: &mut CargoWorkspace<'_>,
) -> Result<Option<Gathered>, InputError> {
    match &service.build {
        Build::Native(build) => of_native(&service.name, build, files, cargo),
        Build::Dockerfile(build) => options::of_dockerfile(build, files).map(Some),
        Build::Command(build) => options::of_command(build, files).map(Some),
        Build::Image { .. } => Ok(Some(Gathered::default())),
    }
}

fn of_native(
    service: &ServiceName,
    build: &NativeBuild,
    files: &Files,
    cargo: &mut CargoWorkspace<'_>,
) -> Result<Option<Gathered>, InputError> {
    let mut found = Gathered::default();
    target::check(build)?;
    if let Some(package) = &build.cargo {
        let Some(inputs) = cargo.inputs(files, package)? else {
            return Ok(None);
        };
        let closure = inputs.closure(service, package, &Target::of_build(build), files)?;
        found.inputs = closure.inputs;
        found.labels = closure.labels;
        found.selection = closure.selection;
        found.folders = closure.folders;
        found.files = closure.files;
    }
    if let Some(wanted) = &build.packages {
        let platforms = target::platforms(build);
        packages::add_inputs(&mut found.inputs, wanted, &platforms, files)?;
    }
    options::add_native(&mut found, build, files)?;
    Ok(Some(found))
}

/// Where it is written that a service is compiled.
fn span(build: &NativeBuild) -> &Span {
    build
        .cargo
        .as_ref()
        .map_or(&build.span, |cargo| &cargo.span)
}

fn digest_files(
    stack: &Stack,
    files: &mut Files,
    gathered: &mut BTreeMap<&ServiceName, Gathered>,
) -> Result<(), ImageError> {
    let folders = gathered
        .values()
        .flat_map(|found| found.folders.iter().cloned())
        .collect();
    let of_packages = files.of_packages(&folders)?;
    let mut errors = Vec::new();
    for (name, found) in gathered.iter_mut() {
        for folder in &found.folders {
            match (of_packages.get(folder), &stack.services[*name].build) {
                (Some(files), _) => found.files.extend(files.iter().cloned()),
                // Whatever it is compiled from, its tag would not depend on it.
                (None, Build::Native(build)) => errors.push(InputError::NoSources {
                    folder: folder.clone(),
                    span: span(build).clone(),
                }),
                (None, _) => {}
            }
        }
    }
    if !errors.is_empty() {
        return Err(ImageError(errors));
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
        selection: found.selection,
        labels: found.labels,
    }
}

#[cfg(test)]
mod tests;
