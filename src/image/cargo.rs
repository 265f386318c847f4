//! Compiling: one run of cargo for all services that are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::stack::CargoBuild;
use crate::timings::{CargoLog, Timings};

use super::build_error::BuildError;
use super::process::{self, Pipe, ProcessError};
use super::progress::{Tail, Task};
use super::rustflags::{self, Rustflags};
use super::target::{STATIC_FLAGS, Target};

/// Statuses of cargo that a progress bar says better.
const STATUSES: [&str; 6] = [
    "Compiling",
    "Fresh",
    "Downloaded",
    "Downloading",
    "Dirty",
    "Finished",
];

/// A compiled service.
#[derive(Debug)]
pub(crate) struct Executable {
    /// The file.
    pub path: PathBuf,
    /// Files of the repository it was compiled from, relative to its root.
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
    /// Whether diagnostics are coloured.
    pub color: bool,
}

/// What a run left, by package and binary.
#[derive(Debug, Default)]
pub(crate) struct Executables(BTreeMap<(String, String), Executable>);

/// What cargo said in one run.
#[derive(Default)]
struct Heard {
    executables: Vec<(String, String, PathBuf)>,
    tail: Tail,
    broken: BTreeSet<String>,
    lock_is_stale: bool,
    missing_target: bool,
}

impl Executables {
    /// A binary of a package.
    pub(crate) fn get(&self, package: &str, bin: &str) -> Option<&Executable> {
        self.0.get(&(package.to_owned(), bin.to_owned()))
    }
}

impl Compilation<'_> {
    /// Compiles what is wanted. `tasks` hear the progress; diagnostics come from a task `cargo`.
    pub(crate) async fn run(
        &self,
        tasks: &[&Task<'_>],
        timings: &Timings,
        cancel: &CancellationToken,
    ) -> Result<Executables, BuildError> {
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
        if status.success() {
            return Ok(self.executables(heard));
        }
        let packages: BTreeSet<&str> = match heard.broken.is_empty() {
            true => self
                .builds
                .iter()
                .map(|build| build.package.as_str())
                .collect(),
            false => heard.broken.iter().map(String::as_str).collect(),
        };
        Err(BuildError::Cargo {
            packages: packages.into_iter().collect::<Vec<_>>().join(", "),
            missing_target: heard.missing_target.then_some(self.target.triple),
            lock_is_stale: heard.lock_is_stale,
            tail: heard.tail.into_lines(),
        })
    }

    fn command(&self) -> Result<Command, BuildError> {
        let mut command = Command::new("cargo");
        command
            .current_dir(self.root)
            .args([
                "build",
                "--locked",
                "--message-format=json-render-diagnostics",
            ])
            .args(["--profile", self.profile, "--target", self.target.triple])
            .args(self.selection)
            .arg("--target-dir")
            .arg(self.target_folder())
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
        let cargo_home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(env::home_dir()?.join(".cargo")));
        let mut ours: Vec<String> = STATIC_FLAGS.map(str::to_owned).into();
        // Two clones in different folders give the same binary.
        ours.push(format!(
            "--remap-path-prefix={}=/source",
            self.root.display()
        ));
        if let Some(home) = &cargo_home {
            ours.push(format!("--remap-path-prefix={}=/cargo", home.display()));
        }
        let configs = rustflags::configs(self.root, cargo_home)
            .map_err(|error| BuildError::Inputs(error.into()))?;
        Ok(rustflags::combine(
            rustflags::of_environment(|name| env::var(name).ok()),
            &configs,
            self.target.triple,
            &ours,
        ))
    }

    /// A folder of our own: other flags would make cargo compile the user's own builds anew.
    pub(crate) fn target_folder(&self) -> PathBuf {
        self.root.join("target/stackctl")
    }

    fn executables(&self, heard: Heard) -> Executables {
        let found = heard.executables.into_iter().map(|(package, bin, path)| {
            let sources = self.sources(&path);
            ((package, bin), Executable { path, sources })
        });
        Executables(found.collect())
    }

    fn sources(&self, executable: &Path) -> BTreeSet<PathBuf> {
        // Missing or odd, it only means that undeclared inputs go unnoticed.
        let rules = fs::read_to_string(executable.with_extension("d")).unwrap_or_default();
        let target = self.target_folder();
        sources(&rules)
            .into_iter()
            .filter(|source| !source.starts_with(&target))
            .filter_map(|source| Some(source.strip_prefix(self.root).ok()?.to_owned()))
            .collect()
    }
}

impl Heard {
    /// A JSON message on standard output.
    fn message(&mut self, line: &str) {
        #[derive(Deserialize)]
        struct Artifact {
            package_id: String,
            target: Named,
            executable: Option<PathBuf>,
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        if let Ok(artifact) = serde_json::from_str::<Artifact>(line)
            && let Some(executable) = artifact.executable
        {
            let package = package_name(&artifact.package_id).to_owned();
            self.executables
                .push((package, artifact.target.name, executable));
        }
    }

    /// A line on standard error: a status, a state of the progress bar or part of a diagnostic.
    fn status(&mut self, line: &str, tasks: &[&Task<'_>]) {
        let plain = without_escapes(line);
        let trimmed = plain.trim();
        if let Some(progress) = progress(trimmed) {
            for task in tasks {
                task.progress(progress.clone());
            }
            return;
        }
        if trimmed.starts_with("Blocking") {
            for task in tasks {
                task.progress(trimmed);
            }
        }
        let is_status = plain.starts_with(' ')
            && STATUSES
                .iter()
                .any(|status| trimmed.starts_with(&format!("{status} ")));
        if is_status {
            return;
        }
        if let Some((_, rest)) = plain.split_once("error: could not compile `")
            && let Some((package, _)) = rest.split_once('`')
        {
            self.broken.insert(package.to_owned());
        }
        self.lock_is_stale |= plain.contains("--locked was passed");
        self.missing_target |= plain.contains("target may not be installed");
        self.tail.push(line);
        if let Some(task) = tasks.first() {
            task.output_of("cargo", line);
        }
    }
}

/// `Building [===>   ] 12/130: tokio, hyper` → `12/130 tokio, hyper`
fn progress(line: &str) -> Option<String> {
    let (_, rest) = line.strip_prefix("Building [")?.split_once("] ")?;
    Some(match rest.split_once(": ") {
        Some((count, units)) => format!("{count} {units}"),
        None => rest.to_owned(),
    })
}

/// Without colour codes (ECMA-48, control sequences).
fn without_escapes(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(char) = rest.next() {
        if char != '\u{1b}' {
            plain.push(char);
        } else if rest.next() == Some('[') {
            for parameter in rest.by_ref() {
                if ('@'..='~').contains(&parameter) {
                    break;
                }
            }
        }
    }
    plain
}

/// The name in a package id: `path+file:///r/services/a#0.1.0` or `path+file:///r/services/x#a@0.1.0`.
fn package_name(id: &str) -> &str {
    let (url, fragment) = id.split_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name,
        None => url.rsplit('/').next().unwrap_or(url),
    }
}

/// The files behind the colon of a Makefile rule; a backslash keeps a space in a name.
fn sources(rules: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in rules.lines() {
        let Some((_, list)) = line.split_once(": ") else {
            continue;
        };
        let list = list.replace("\\ ", "\0");
        files.extend(
            list.split(' ')
                .filter(|file| !file.is_empty())
                .map(|file| PathBuf::from(file.replace('\0', " "))),
        );
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_writes_is_understood() {
        assert_eq!(
            progress("Building [=====>      ] 12/130: tokio, hyper(build)").unwrap(),
            "12/130 tokio, hyper(build)"
        );
        assert_eq!(progress("Compiling tokio v1.54.1"), None);
        assert_eq!(
            without_escapes("\u{1b}[1m\u{1b}[92m   Compiling\u{1b}[0m a v0.1.0"),
            "   Compiling a v0.1.0"
        );
        for (id, name) in [
            ("path+file:///r/services/birthday#0.1.0", "birthday"),
            ("path+file:///r/services/x#birthday@0.1.0", "birthday"),
            (
                "registry+https://github.com/rust-lang/crates.io-index#serde@1.0.2",
                "serde",
            ),
        ] {
            assert_eq!(package_name(id), name);
        }
        assert_eq!(
            sources("/t/a: /r/a\\ b.rs /r/c.rs\n\n/r/c.rs:\n"),
            [PathBuf::from("/r/a b.rs"), PathBuf::from("/r/c.rs")]
        );
    }

    #[test]
    fn diagnostics_are_passed_on_and_the_broken_package_is_named() {
        let events = crate::event::Recorder::default();
        let task = Task::start(&events, crate::event::Phase::Build, "a");
        let tasks = [&task];
        let mut heard = Heard::default();
        for line in [
            "   Compiling a v0.1.0 (/r/a)",
            "    Building [====>  ] 3/9: a(bin)",
            "error[E0425]: cannot find value `x`",
            "error: could not compile `a` (bin \"a\") due to 1 previous error",
        ] {
            heard.status(line, &tasks);
        }
        assert_eq!(heard.broken, ["a".to_owned()].into());
        assert_eq!(heard.tail.into_lines().len(), 2);
        let progress = events.events().into_iter().any(|event| {
            matches!(event, crate::event::Event::TaskProgress { message, .. } if message == "3/9 a(bin)")
        });
        assert!(progress);
    }

    #[test]
    fn executables_are_told_apart_from_libraries() {
        let mut heard = Heard::default();
        heard.message(r#"{"reason":"compiler-artifact","package_id":"path+file:///r/kit#0.1.0","target":{"name":"kit"},"executable":null}"#);
        heard.message(r#"{"reason":"compiler-artifact","package_id":"path+file:///r/a#0.1.0","target":{"name":"a"},"executable":"/t/a"}"#);
        heard.message("not json");
        assert_eq!(heard.executables, [("a".into(), "a".into(), "/t/a".into())]);
    }
}
