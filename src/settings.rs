//! What was typed and what is in the environment → what a command does. No command sees a clap type.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli;
use crate::delivery::{Destination, InvalidDestination};
use crate::diagnostic::{Code, Diagnostic, Problems, did_you_mean};
use crate::stack::{self, EnvName, ServiceName, Stack};
use crate::yaml::parse_duration;

/// An argument that clap lets pass and that is still wrong.
const BAD_ARGUMENT: Code = Code::new("S0160");
/// `-s` names no service.
const NO_SUCH_SERVICE: Code = Code::new("S0161");

/// Where a command works.
#[derive(Clone, Debug)]
pub struct Place {
    /// The repository: the folder of `stack.yaml`.
    pub root: PathBuf,
    /// The environment.
    pub environment: EnvName,
    /// `--cluster`.
    pub cluster: Option<String>,
    /// `-s`; empty for all.
    pub services: Vec<ServiceName>,
}

/// Lines of logs that are asked for.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Whether to go on until interrupted.
    pub follow: bool,
    /// Lines of each container.
    pub tail: u32,
    /// Only what is younger.
    pub since: Option<Duration>,
    /// The containers before the last restart.
    pub previous: bool,
}

/// How `build` works.
#[derive(Clone, Debug, Default)]
pub struct BuildSettings {
    /// Where the images file goes.
    pub images: Option<PathBuf>,
    /// Whether the Docker engine puts images together.
    pub with_docker: bool,
    /// Where images go; none: to the Docker engine, if one answers.
    pub to: Option<Destination>,
    /// Whether the user wants to know why each image was built.
    pub explain: bool,
    /// Whether the lock files of Debian packages are written anew first.
    pub update_packages: bool,
    /// Where lists of what is in the images go.
    pub sbom: Option<PathBuf>,
    /// What signs them: a file, or `env:VARIABLE`.
    pub key: Option<String>,
}

/// Files that reports are written to.
#[derive(Clone, Debug, Default)]
pub struct ReportSettings {
    /// JUnit.
    pub junit: Option<PathBuf>,
    /// JSON.
    pub json: Option<PathBuf>,
}

impl Place {
    /// From the global options and a command's target.
    pub fn new(
        global: &cli::Global,
        environment: &str,
        services: &[String],
    ) -> Result<Self, Problems> {
        let start = global
            .directory
            .clone()
            .unwrap_or_else(|| PathBuf::from("."));
        // Symbolic links and `..` are followed first: what is above the folder is above where it really is.
        let start = start.canonicalize().map_err(|error| {
            Diagnostic::error(BAD_ARGUMENT, format!("-C: {}: {error}", start.display()))
        })?;
        let services = services
            .iter()
            .map(|name| argument("-s", name))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            root: stack::find_root(&start)?,
            environment: argument("ENV", environment)?,
            cluster: global.cluster.clone(),
            services,
        })
    }

    /// The stack, with `-s` checked against it.
    pub fn load(&self) -> Result<Stack, Problems> {
        let stack = stack::load(&self.root, &self.environment)?;
        for name in &self.services {
            if !stack.services.contains_key(name) {
                return Err(no_such_service(name, &stack).into());
            }
        }
        Ok(stack)
    }

    /// Whether a service is among those the command works on.
    #[must_use]
    pub fn includes(&self, service: &ServiceName) -> bool {
        self.services.is_empty() || self.services.contains(service)
    }
}

impl TryFrom<&cli::Logs> for LogSettings {
    type Error = Problems;

    fn try_from(logs: &cli::Logs) -> Result<Self, Problems> {
        let since = match &logs.since {
            None => None,
            Some(text) => Some(parse_duration(text).ok_or_else(|| {
                Diagnostic::error(BAD_ARGUMENT, format!("--since: `{text}` is no duration"))
                    .hint("write a number and a unit: 500ms, 30s, 2m, 1h")
            })?),
        };
        Ok(Self {
            follow: logs.follow,
            tail: logs.tail,
            since,
            previous: logs.previous,
        })
    }
}

impl TryFrom<&cli::Build> for BuildSettings {
    type Error = InvalidDestination;

    fn try_from(build: &cli::Build) -> Result<Self, InvalidDestination> {
        Ok(Self {
            images: build.images.clone(),
            with_docker: build.builder == cli::Builder::Docker,
            to: build.to.as_deref().map(str::parse).transpose()?,
            explain: build.explain,
            update_packages: build.update_packages,
            sbom: build.sbom.clone(),
            key: build.sign.clone(),
        })
    }
}

impl TryFrom<&cli::Reports> for ReportSettings {
    type Error = Problems;

    /// A report that cannot be written is refused before anything is done for it.
    fn try_from(reports: &cli::Reports) -> Result<Self, Problems> {
        for file in [&reports.junit, &reports.report].into_iter().flatten() {
            let folder = file
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            if file.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
                let message = format!("the report {} cannot be written there", file.display());
                return Err(Diagnostic::error(BAD_ARGUMENT, message)
                    .hint("name a file in a folder that exists")
                    .into());
            }
        }
        Ok(Self {
            junit: reports.junit.clone(),
            json: reports.report.clone(),
        })
    }
}

/// A name on the command line.
pub fn argument<T>(what: &str, text: &str) -> Result<T, Problems>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    text.parse()
        .map_err(|error: T::Err| Diagnostic::error(BAD_ARGUMENT, format!("{what}: {error}")).into())
}

/// `1.20` → 20
pub fn kubernetes_minor(version: &str) -> Result<u32, Problems> {
    const OLDEST: u32 = 16;
    let minor = version
        .trim_start_matches('v')
        .strip_prefix("1.")
        .and_then(|rest| rest.split('.').next()?.parse().ok());
    minor.filter(|minor| *minor >= OLDEST).ok_or_else(|| {
        Diagnostic::error(
            BAD_ARGUMENT,
            format!("--target: `{version}` is no version of Kubernetes from 1.{OLDEST} on"),
        )
        .hint("write it as 1.20")
        .into()
    })
}

fn no_such_service(name: &ServiceName, stack: &Stack) -> Diagnostic {
    if let Some(span) = stack.disabled.get(name) {
        let environment = &stack.environment.name;
        return Diagnostic::error(
            NO_SUCH_SERVICE,
            format!("-s: {name} is disabled in the environment `{environment}`"),
        )
        .at(span, "");
    }
    let known = || stack.services.keys().map(ServiceName::as_str);
    let problem = Diagnostic::error(
        NO_SUCH_SERVICE,
        format!("-s: the stack has no service `{name}`"),
    );
    match did_you_mean(name.as_str(), known()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint(format!("it has {}", known().collect::<Vec<_>>().join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_kubernetes() {
        assert_eq!(kubernetes_minor("1.20").unwrap(), 20);
        assert_eq!(kubernetes_minor("v1.33.2").unwrap(), 33);
        assert!(kubernetes_minor("20").is_err());
        assert!(kubernetes_minor("1.x").is_err());
        assert!(
            kubernetes_minor("1.15").is_err(),
            "before apps/v1 was all there was"
        );
    }
}
