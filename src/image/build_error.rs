//! Why images could not be built.

use std::io;

use bollard::errors::Error as DockerError;
use oci_image::{Descriptor, LayerError, LayoutError, Platform};

use crate::diagnostic::{Code, Diagnostic, Exit, Explain, Span};
use crate::stack::ServiceName;

use super::base::{self, BaseFailure};
use super::docker::{AssemblyError, DockerfileError};
use super::elf::NotRunnable;
use super::input_error::{ImageError, InputError};
use super::packages_error::PackagesError;
use super::sources::UndeclaredSources;
use super::store::{NO_ROOM, is_out_of_room};

/// cargo failed.
const CARGO: Code = Code::new("S0408");
/// The binary needs more than the image has.
const NOT_STATIC: Code = Code::new("S0409");
/// A build command failed or left no image.
const COMMAND: Code = Code::new("S0411");
/// Sources changed while they were compiled.
const CHANGED: Code = Code::new("S0413");
/// The engine refused.
const ENGINE: Code = Code::new("S0414");
/// The image below cannot be pulled, or is not to be trusted.
const BASE: Code = Code::new("S0423");
/// The engine cannot assemble an image of other machines.
const PLATFORM: Code = Code::new("S0471");
/// Ctrl-C.
const INTERRUPTED: Code = Code::new("S0415");
/// The repository or a program could not be used.
const MACHINE: Code = Code::new("S0416");

/// Why `build` ended without all images.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The inputs cannot be read.
    #[error(transparent)]
    Inputs(#[from] ImageError),
    /// cargo ended with an error.
    #[error("cargo could not compile {packages}")]
    Cargo {
        /// The packages it was to compile.
        packages: String,
        /// The last lines it wrote.
        tail: Vec<String>,
        /// Whether it was because of `Cargo.lock`.
        lock_is_stale: bool,
        /// The target that the toolchain lacks.
        missing_target: Option<&'static str>,
        /// Variables that it wrote of, that are set here and that it was not given.
        withheld: Vec<String>,
    },
    /// A binary is made from files that its tag does not depend on.
    #[error(transparent)]
    Undeclared(#[from] UndeclaredSources),
    /// cargo succeeded, but named no such executable.
    #[error("cargo made no executable `{bin}` for {service}")]
    NoExecutable {
        /// Whose.
        service: ServiceName,
        /// Its name.
        bin: String,
        /// Where the build is declared.
        span: Span,
    },
    /// The binary would not run in its image.
    #[error("the binary `{bin}` cannot run in an image of its own: {reason}")]
    NotRunnable {
        /// Its name.
        bin: String,
        /// Why.
        reason: NotRunnable,
        /// Where the build is declared.
        span: Span,
    },
    /// The image would not be what its tag says.
    #[error("sources of {service} changed while it was built")]
    SourcesChanged {
        /// Whose.
        service: ServiceName,
        /// The inputs that changed, or that were written and are the same again.
        changed: Vec<String>,
        /// Whether a command of the user ran meanwhile, which may have done it.
        by_command: bool,
    },
    /// The engine could not build a Dockerfile.
    #[error(transparent)]
    Dockerfile(#[from] DockerfileError),
    /// A build command ended with an error.
    #[error("the build command of {service} failed: {status}")]
    Command {
        /// Whose.
        service: ServiceName,
        /// Such as `exit status: 1`.
        status: String,
        /// The last lines it wrote.
        tail: Vec<String>,
        /// Where it is declared.
        span: Span,
    },
    /// A build command succeeded, but the image is not there.
    #[error("the build command of {service} left no image `{reference}` in the Docker engine")]
    NoImage {
        /// Whose.
        service: ServiceName,
        /// What it should be tagged.
        reference: String,
        /// Where the command is declared.
        span: Span,
    },
    /// A program could not be started.
    #[error("failed to run `{program}`")]
    Program {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("failed to {action}")]
    File {
        /// Such as `read the binary of counter`.
        action: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The engine refused something, or the connection broke.
    #[error("the Docker engine failed to {action}")]
    Engine {
        /// Such as `load the image of counter`.
        action: String,
        /// Why.
        #[source]
        source: DockerError,
    },
    /// A file of the repository cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Debian packages could not be resolved, downloaded or unpacked.
    #[error(transparent)]
    Packages(Box<PackagesError>),
    /// The image below could not be pulled.
    #[error("the base {reference} cannot be used")]
    Base {
        /// With its digest.
        reference: String,
        /// Why.
        #[source]
        source: Box<BaseFailure>,
        /// Where it is named.
        span: Span,
    },
    /// The engine could not assemble an image.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// The engine is to assemble what it could not run.
    #[error(
        "the image of {service} is for {}, but the Docker engine assembles images for {wanted}",
        .available.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    OtherPlatform {
        /// Whose.
        service: ServiceName,
        /// What the engine runs.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<Platform>,
    },
    /// A layer could not be written.
    #[error("failed to write the layer of {what}")]
    Layer {
        /// `files`, `binaries`, `packages`.
        what: String,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// The store could not be used.
    #[error(transparent)]
    Store(#[from] LayoutError),
    /// A service is built by the engine, and none was connected.
    #[error("no Docker engine is connected")]
    NoEngine,
    /// Ctrl-C.
    #[error("the build was interrupted")]
    Interrupted,
}

impl From<PackagesError> for BuildError {
    fn from(error: PackagesError) -> Self {
        Self::Packages(Box::new(error))
    }
}

impl BuildError {
    /// The damaged blob of an error that does not show among the causes of this one.
    pub(crate) fn held_damage(&self) -> Option<&Descriptor> {
        match self {
            Self::Store(error) => error.damaged(),
            Self::Base { source, .. } => source.damaged(),
            _ => None,
        }
    }

    /// For `map_err` on calls of the engine.
    pub(crate) fn engine(action: impl Into<String>) -> impl FnOnce(DockerError) -> Self {
        let action = action.into();
        |source| Self::Engine { action, source }
    }
}

impl Explain for BuildError {
    fn exit(&self) -> Exit {
        match self {
            Self::Inputs(error) => error.exit(),
            Self::Store(error) => error.exit(),
            Self::Assembly(error) => error.exit(),
            Self::Dockerfile(error) => error.exit(),
            Self::Interrupted => Exit::Interrupted,
            Self::OtherPlatform { .. } => Exit::Refused,
            _ => Exit::Failed,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let error = |code| Diagnostic::error(code, self.to_string());
        vec![match self {
            Self::Inputs(error) => return error.diagnostics(),
            Self::Input(error) => return vec![error.diagnostic()],
            Self::Assembly(error) => return error.diagnostics(),
            Self::Base { source, span, .. } => {
                base::explained(error(BASE).at(span, "the base"), source)
            }
            Self::Packages(error) => return vec![error.diagnostic()],
            Self::Store(error) => return error.diagnostics(),
            Self::Layer { source, .. } => {
                let found = error(MACHINE).caused_by(source);
                match is_out_of_room(source) {
                    true => found.hint(NO_ROOM),
                    false => found,
                }
            }
            Self::NoEngine => error(ENGINE),
            Self::OtherPlatform { wanted, .. } => error(PLATFORM).hint(format!(
                "add {wanted} to `platforms` in its service.yaml, or build it without `--builder docker`"
            )),
            Self::Cargo {
                tail,
                lock_is_stale,
                missing_target,
                withheld,
                ..
            } => {
                let error = with_tail(error(CARGO), tail);
                let error = withheld.iter().fold(error, |error, name| {
                    error.hint(format!(
                        "`{name}` is set here, but cargo sees only variables that a service declares: write `inputs: [${name}]` below `build` in its service.yaml"
                    ))
                });
                match missing_target {
                    _ if *lock_is_stale => error.hint("Cargo.lock is out of date: run `cargo check` and commit it"),
                    Some(triple) => error.hint(format!(
                        "`rustup target add {triple}`; a linker for it is named in .cargo/config.toml"
                    )),
                    None => error,
                }
            }
            Self::Undeclared(error) => return vec![error.diagnostic()],
            Self::NoExecutable { span, .. } => error(CARGO).at(span, "built here"),
            Self::NotRunnable { reason, span, .. } => {
                let error = error(NOT_STATIC).at(span, "built here");
                match reason {
                    NotRunnable::Dynamic(_) => error
                        .hint("a dependency may link a shared library: look for `-sys` crates with a `vendored` or `bundled` feature, or build from a Dockerfile"),
                    _ => error,
                }
            }
            Self::SourcesChanged {
                changed,
                by_command,
                ..
            } => {
                let mut listed: Vec<&str> = changed.iter().take(3).map(String::as_str).collect();
                if changed.len() > 3 {
                    listed.push("…");
                }
                let found = error(CHANGED)
                    .note(format!("changed: {}", listed.join(", ")))
                    .hint("run the command again; its image was not tagged");
                match by_command {
                    true => found.hint(
                        "if the build command wrote them: let `inputs` name only what it reads",
                    ),
                    false => found,
                }
            }
            Self::Dockerfile(error) => return error.diagnostics(),
            Self::Command { tail, span, .. } => {
                with_tail(error(COMMAND), tail).at(span, "this command")
            }
            Self::NoImage { span, .. } => error(COMMAND)
                .at(span, "this command")
                .hint("it must tag what it builds with the reference in $STACKCTL_IMAGE"),
            Self::Program { source, .. } => {
                let found = error(MACHINE).caused_by(source);
                match source.kind() {
                    io::ErrorKind::NotFound => found.hint("is it installed and in PATH?"),
                    _ => found,
                }
            }
            Self::File { source, .. } => {
                let found = error(MACHINE).caused_by(source);
                match source.kind() {
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => found
                        .hint("what cargo compiles is kept in the repository, in `target/` and `.stackctl/`: make it writable, or build in a copy"),
                    _ => found,
                }
            }
            Self::Engine { source, .. } => error(ENGINE).caused_by(source),
            Self::Interrupted => error(INTERRUPTED),
        }]
    }
}

fn with_tail(error: Diagnostic, tail: &[String]) -> Diagnostic {
    if tail.is_empty() {
        error
    } else {
        error.note(tail.join("\n"))
    }
}
