//! Compiling: one run of cargo for all services that are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::stack::CargoBuild;
use crate::timings::{CargoLog, Timings};

use super::build_error::BuildError;
use super::cargo_config::CargoConfig;
use super::cargo_messages::{Heard, without_escapes};
use super::dep_info;
use super::environment::Environment;
use super::process::{self, Pipe, ProcessError};
use super::progress::Task;
use super::rustflags::{self, Rustflags};
use super::target::{STATIC_FLAGS, Target};

/// A compiled service.
#[derive(Debug)]
pub(crate) struct Executable {
    /// The file.
    pub path: PathBuf,
    /// Files it was compiled from, without those that the compilation made; absolute.
    pub sources: BTreeSet<PathBuf>,
}

/// One run of cargo.
pub(crate) struct Compilation<'a> {
    /// The workspace, as cargo sees it: absolute, without links.
    pub root: &'a Path,
    /// Arguments that choose packages and features: those of the whole batch, so that features are always united
    /// alike.
    pub selection: &'a [String],
    /// Cargo's profile.
    pub profile: &'a str,
    /// What is compiled for.
    pub target: &'a Target,
    /// Whose binaries are wanted.
    pub builds: Vec<&'a CargoBuild>,
    /// The variables of the user.
    pub environment: &'a Environment,
    /// Those that a service of the batch declares.
    pub declared: &'a BTreeSet<String>,
    /// Whether diagnostics are coloured.
    pub color: bool,
}

/// What a run left.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    /// By package and binary.
    executables: BTreeMap<(String, String), Executable>,
    /// By package of the repository, variables that its code asks for, that the user has set and that cargo was not
    /// given.
    pub withheld: BTreeMap<String, BTreeSet<String>>,
}

impl Compiled {
    /// A binary of a package.
    pub(crate) fn get(&self, package: &str, bin: &str) -> Option<&Executable> {
        self.executables.get(&(package.to_owned(), bin.to_owned()))
    }
}

impl Compilation<'_> {
    /// Compiles what is wanted. `tasks` hear the progress; diagnostics come from a task `cargo`.
    pub(crate) async fn run(
        &self,
        tasks: &[&Task<'_>],
        timings: &Timings,
        cancel: &CancellationToken,
    ) -> Result<Compiled, BuildError> {
        let mut heard = Heard::default();
        let begun = timings.now();
        let mut log = CargoLog::default();
        let status = process::run(self.command()?, cancel, |pipe, line| match pipe {
            Pipe::Out => {
                log.message(timings.now().saturating_sub(begun), line);
                heard.message(line);
            }
            Pipe::Err => {
                log.status(
                    timings.now().saturating_sub(begun),
                    without_escapes(line).trim(),
                );
                heard.status(line, tasks);
            }
        })
        .await
        .map_err(|error| match error {
            ProcessError::Interrupted => BuildError::Interrupted,
            ProcessError::Io(source) => BuildError::Program {
                program: "cargo".to_owned(),
                source,
            },
        })?;
        timings.add_units(begun, log.into_units());
        match status.success() {
            true => Ok(self.compiled(heard)),
            false => Err(self.failure(heard)),
        }
    }

    fn failure(&self, heard: Heard) -> BuildError {
        let packages: BTreeSet<&str> = match heard.broken.is_empty() {
            true => self
                .builds
                .iter()
                .map(|build| build.package.as_str())
                .collect(),
            false => heard.broken.iter().map(String::as_str).collect(),
        };
        let named = heard.named.into_iter();
        BuildError::Cargo {
            packages: packages.into_iter().collect::<Vec<_>>().join(", "),
            missing_target: heard.missing_target.then_some(self.target.triple),
            lock_is_stale: heard.lock_is_stale,
            withheld: named
                .filter(|name| self.environment.withholds(name, self.declared))
                .collect(),
            tail: heard.tail.into_lines(),
        }
    }

    fn command(&self) -> Result<Command, BuildError> {
        let mut command = Command::new("cargo");
        let folder = self.target_folder();
        command
            .current_dir(self.root)
            .env_clear()
            .envs(self.environment.passed(self.declared))
            .args([
                "build",
                "--locked",
                "--message-format=json-render-diagnostics",
            ])
            .args(["--profile", self.profile, "--target", self.target.triple])
            .args(self.selection)
            .arg("--target-dir")
            .arg(&folder)
            // Whatever cargo's configuration says: what is made lies there, and all other sources are named in full.
            .env("CARGO_BUILD_BUILD_DIR", &folder)
            .env("CARGO_BUILD_DEP_INFO_BASEDIR", &folder)
            .env(
                "CARGO_TERM_COLOR",
                if self.color { "always" } else { "never" },
            )
            .env("CARGO_TERM_PROGRESS_WHEN", "always")
            .env("CARGO_TERM_PROGRESS_WIDTH", "160");
        let bins: BTreeSet<&str> = self
            .builds
            .iter()
            .flat_map(|build| build.all_bins())
            .collect();
        for bin in bins {
            command.args(["--bin", bin]);
        }
        match self.flags()? {
            Rustflags::Variable(flags) => command.env("CARGO_ENCODED_RUSTFLAGS", flags),
            Rustflags::Config(config) => command.args(["--config", &config]),
        };
        Ok(command)
    }

    fn flags(&self) -> Result<Rustflags, BuildError> {
        let cargo_home = self.environment.cargo_home();
        let mut ours: Vec<String> = STATIC_FLAGS.map(str::to_owned).into();
        let mut remap = |from: &Path, to: &str| {
            ours.push(format!("--remap-path-prefix={}={to}", from.display()))
        };
        // Two clones in different folders give the same binary, with packages beside them. The last one that fits
        // counts, so the widest comes first; the root of all is no prefix that tells anything.
        let above: Vec<&Path> = self.root.ancestors().collect();
        for (height, folder) in above.iter().enumerate().rev().skip(1) {
            remap(folder, &format!("/source{}", "/..".repeat(height)));
        }
        if let Some(home) = &cargo_home {
            remap(home, "/cargo");
        }
        let config = CargoConfig::load(self.root, cargo_home.as_deref())
            .map_err(|error| BuildError::Inputs(error.into()))?;
        Ok(rustflags::combine(
            self.environment,
            &config,
            self.target.triple,
            &ours,
        ))
    }

    /// A folder of our own: other flags would make cargo compile the user's own builds anew.
    pub(crate) fn target_folder(&self) -> PathBuf {
        self.root.join("target/stackctl")
    }

    fn compiled(&self, heard: Heard) -> Compiled {
        let withheld = self.withheld(&heard);
        let folder = self.target_folder();
        let executables = heard.executables.into_iter().map(|(package, bin, path)| {
            let mut sources = dep_info::sources_of(&path);
            sources.retain(|source| source.is_absolute() && !source.starts_with(&folder));
            ((package, bin), Executable { path, sources })
        });
        Compiled {
            executables: executables.collect(),
            withheld,
        }
    }

    fn withheld(&self, heard: &Heard) -> BTreeMap<String, BTreeSet<String>> {
        let folders = heard.executables.iter();
        let folders: BTreeSet<PathBuf> = folders
            .filter_map(|(_, _, path)| Some(path.parent()?.join("deps")))
            .collect();
        let crates = heard.crates.iter().map(|(_, name)| name.as_str()).collect();
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for folder in folders {
            let missing = dep_info::missing_variables(&folder, &crates);
            for (package, name) in &heard.crates {
                let withheld = missing.get(name).into_iter().flatten();
                let withheld =
                    withheld.filter(|name| self.environment.withholds(name, self.declared));
                found
                    .entry(package.clone())
                    .or_default()
                    .extend(withheld.cloned());
            }
        }
        found
    }
}
