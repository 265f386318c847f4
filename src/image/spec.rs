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
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::features::Features;
    use super::super::test_stack::{cargo, command, dockerfile, stack, workspace, write};
    use super::*;
    use crate::diagnostic::{Exit, Explain};
    use crate::stack::Registry;

    /// As `specs`, for lock files that name no real packages: cargo is not asked for features.
    fn specs(
        stack: &Stack,
        only: Option<&[ServiceName]>,
    ) -> Result<BTreeMap<ServiceName, ImageSpec>, ImageError> {
        let surroundings = Surroundings {
            environment: &Environment::of_process(),
            resolve: &|_, _, _, _| Ok(Features::default()),
        };
        specs_with(stack, only, surroundings)
    }

    fn references(stack: &Stack) -> BTreeMap<String, String> {
        specs(stack, None)
            .unwrap()
            .into_values()
            .map(|spec| (spec.service.to_string(), spec.reference))
            .collect()
    }

    /// Which references an edit changes.
    fn changed(stack: &Stack, edit: impl FnOnce(&Path)) -> Vec<String> {
        let before = references(stack);
        edit(&stack.root);
        references(stack)
            .into_iter()
            .filter(|(service, reference)| before[service] != *reference)
            .map(|(service, _)| service)
            .collect()
    }

    fn replace(root: &Path, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(root.join(file), text.replace(from, to)).unwrap();
    }

    fn two_services() -> (tempfile::TempDir, Stack) {
        let root = tempfile::tempdir().unwrap();
        workspace(root.path());
        let stack = stack(root.path(), &[("a", cargo("a")), ("b", cargo("b"))]);
        (root, stack)
    }

    #[test]
    fn an_edit_changes_the_tags_of_what_is_made_from_it() {
        type Edit = fn(&Path);
        let table: &[(&str, Edit, &[&str])] = &[
            (
                "a source of a",
                |root| write(root, &[("services/a/src/main.rs", "fn main() {}")]),
                &["a"],
            ),
            (
                "a new source of b",
                |root| write(root, &[("services/b/src/x.rs", "")]),
                &["b"],
            ),
            (
                "the library under a",
                |root| write(root, &[("crates/kit/src/lib.rs", "")]),
                &["a"],
            ),
            (
                "a lock entry of b",
                |root| replace(root, "Cargo.lock", "r1", "r2"),
                &["b"],
            ),
            (
                "a lock entry of a",
                |root| replace(root, "Cargo.lock", "s1", "s2"),
                &["a"],
            ),
            (
                "a lock entry of tests",
                |root| replace(root, "Cargo.lock", "i1", "i2"),
                &[],
            ),
            (
                "a test",
                |root| write(root, &[("services/a/tests/api.rs", "")]),
                &[],
            ),
            (
                "the service file",
                |root| write(root, &[("services/a/service.yaml", "ports: {}")]),
                &[],
            ),
            (
                "the profile",
                |root| replace(root, "Cargo.toml", "strip = true", "strip = false"),
                &["a", "b"],
            ),
            (
                "another profile",
                |root| replace(root, "Cargo.toml", "opt-level = 1", "opt-level = 2"),
                &[],
            ),
            (
                "the lints",
                |root| replace(root, "Cargo.toml", "forbid", "deny"),
                &[],
            ),
            (
                "a shared dependency of b",
                |root| replace(root, "Cargo.toml", "rand = \"0.9\"", "rand = \"0.9.0\""),
                &["b"],
            ),
            (
                "the shared licence, which nobody inherits",
                |root| replace(root, "Cargo.toml", "MIT", "Apache-2.0"),
                &[],
            ),
            (
                "cargo's flags",
                |root| {
                    write(
                        root,
                        &[(".cargo/config.toml", "build.rustflags = '-Copt-level=1'")],
                    )
                },
                &["a", "b"],
            ),
            (
                "something else",
                |root| write(root, &[("docs/x.md", ""), ("target/x", "")]),
                &[],
            ),
        ];
        for (what, edit, expected) in table {
            let (_root, stack) = two_services();
            assert_eq!(changed(&stack, edit), *expected, "{what}");
        }
    }

    #[test]
    fn an_alias_of_cargo_is_no_input() {
        let (_root, stack) = two_services();
        write(
            &stack.root,
            &[(
                ".cargo/config.toml",
                "[build]\njobs = 1\n[alias]\nx = 'run'\n",
            )],
        );
        let edit = |root: &Path| replace(root, ".cargo/config.toml", "'run'", "'build'");
        assert!(changed(&stack, edit).is_empty());
    }

    #[test]
    fn references_hold_prefix_service_and_digest_and_are_the_same_in_every_folder() {
        let (_one, mut stack) = two_services();
        let (_two, elsewhere) = two_services();
        let first = references(&stack);
        assert_eq!(first, references(&elsewhere));
        let (name, tag) = first["a"].split_once(':').unwrap();
        assert_eq!(name, "seedling/a");
        assert!(
            tag.len() == 20 && tag.chars().all(|c| c.is_ascii_hexdigit()),
            "{tag}"
        );
        stack.environment.registry = Some(Registry {
            prefix: "r.example.com/team".into(),
            span: super::super::test_stack::span(),
        });
        assert_eq!(
            references(&stack)["a"],
            format!("r.example.com/team/a:{tag}")
        );
        let only = specs(&stack, Some(&["b".parse().unwrap()])).unwrap();
        assert_eq!(only.len(), 1);
        let spec = &only["b"];
        assert_eq!(spec.labels["org.opencontainers.image.version"], "0.1.0");
    }

    #[test]
    fn dockerfiles_and_commands_depend_on_what_they_are_given() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("web/Dockerfile", "FROM scratch\nCOPY x /\n"),
                ("web/.dockerignore", "*.log\n"),
                ("web/x", ""),
                ("images/db/rules", ""),
            ],
        );
        let ready = Build::Image {
            reference: "redis:7".into(),
            span: super::super::test_stack::span(),
        };
        let services = [
            ("db", command(&["cargo", "xtask", "image"], &["images/db"])),
            ("cache", ready),
            ("web", dockerfile("web/Dockerfile")),
        ];
        let stack = stack(root.path(), &services);
        assert_eq!(references(&stack)["cache"], "redis:7");
        type Edit = fn(&Path);
        let table: &[(Edit, &[&str])] = &[
            (|root| write(root, &[("web/x", "1")]), &["web"]),
            (|root| write(root, &[("web/a.log", "1")]), &[]),
            (
                |root| fs::create_dir(root.join("web/empty")).unwrap(),
                &["web"],
            ),
            (|root| write(root, &[("images/db/rules", "1")]), &["db"]),
            (|root| write(root, &[("images/x", "1")]), &[]),
        ];
        for (edit, expected) in table {
            assert_eq!(changed(&stack, edit), *expected);
        }
    }

    fn first_problem(stack: &Stack) -> String {
        let error = specs(stack, None).unwrap_err();
        assert_eq!(error.exit(), Exit::BadInput, "{error}");
        let diagnostics = error.diagnostics();
        assert!(diagnostics.iter().all(|found| !found.labels.is_empty()));
        diagnostics[0].message.clone()
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Edit = fn(&Path);
        let table: &[(Edit, &str)] = &[
            (
                |root| fs::remove_file(root.join("Cargo.lock")).unwrap(),
                "there is no Cargo.lock, so what an image would be made from is not known",
            ),
            (
                |root| fs::remove_file(root.join("Cargo.toml")).unwrap(),
                "there is no Cargo.toml in the repository, but a service is built by cargo",
            ),
            (
                |root| replace(root, "Cargo.lock", ", \"serde\"]", "]"),
                "Cargo.lock is out of date: it does not know that `a` needs `serde`",
            ),
            (
                |root| replace(root, "services/a/Cargo.toml", "\"a\"", "\"c\""),
                "there is no package `a` in this workspace",
            ),
            (
                |root| fs::remove_file(root.join("services/a/src/main.rs")).unwrap(),
                "package `a` has no binary `a`",
            ),
            (
                |root| write(root, &[("services/b/Cargo.toml", "[package\n")]),
                "unclosed table, expected `]`",
            ),
        ];
        for (edit, expected) in table {
            let (_root, stack) = two_services();
            edit(&stack.root);
            assert_eq!(first_problem(&stack), *expected);
        }
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let root = tempfile::tempdir().unwrap();
        workspace(root.path());
        let services = [
            ("a", cargo("aa")),
            ("b", dockerfile("b/Dockerfile")),
            ("c", command(&["make"], &["nowhere"])),
        ];
        let error = specs(&stack(root.path(), &services), None).unwrap_err();
        let messages: Vec<String> = error.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "there is no package `aa` in this workspace",
                "the Dockerfile `b/Dockerfile` does not exist",
                "the input `nowhere` does not exist",
            ]
        );
        assert_eq!(error.diagnostics()[0].hints, ["did you mean `a`?"]);
    }
}
