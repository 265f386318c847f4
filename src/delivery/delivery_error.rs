//! Why images did not get where they should be.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use bollard::errors::Error as DockerError;
use oci_image::registry::RegistryError;
use oci_image::{ArchiveError, LayoutError, Platform};

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::image::{DockerConfigError, LoadError, registry_of};
use crate::stack::ServiceName;

use super::push_failure::PushFailure;
use super::registry_fault;

/// The command line tool of a local cluster is missing.
const NO_TOOL: Code = Code::new("S0502");
/// The tool failed.
const TOOL: Code = Code::new("S0503");
/// The engine could not push.
const PUSH: Code = Code::new("S0504");
/// The engine failed.
const ENGINE: Code = Code::new("S0505");
/// Ctrl-C.
const INTERRUPTED: Code = Code::new("S0506");
/// There is no engine.
const NO_ENGINE: Code = Code::new("S0514");
/// The image cannot be read where it is.
const UNREADABLE: Code = Code::new("S0515");
/// The image cannot be taken out of the engine.
const SAVED: Code = Code::new("S0516");
/// A node did not take an image.
const NODE: Code = Code::new("S0517");
/// A disk is full.
const DISK_FULL: Code = Code::new("S0518");
/// A folder or file cannot be written.
const UNWRITABLE: Code = Code::new("S0519");
/// A file that is no archive of images is not overwritten.
const FOREIGN: Code = Code::new("S0520");

/// A node cannot unpack the layers.
const ZSTD: Code = Code::new("S0535");
/// An engine or a node cannot run the image.
const PLATFORM: Code = Code::new("S0540");

/// Why a delivery ended early.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// A local cluster is filled by its own tool, and that is not installed.
    #[error("`{tool}` is needed to bring images into this cluster, but it is not installed")]
    NoTool {
        /// Its name.
        tool: &'static str,
    },
    /// The tool could not be run.
    #[error("failed to run `{tool}`")]
    ToolStart {
        /// Its name.
        tool: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The tool ended with an error.
    #[error("`{command}` failed: {status}")]
    Tool {
        /// With its arguments.
        command: String,
        /// Such as `exit status: 1`.
        status: String,
        /// The last lines it wrote.
        tail: Vec<String>,
    },
    /// The engine could not push.
    #[error("failed to push {service} to {registry}: {message}")]
    Push {
        /// Whose image.
        service: ServiceName,
        /// The registry's host.
        registry: String,
        /// Its reference.
        reference: String,
        /// What kind of failure.
        failure: PushFailure,
        /// The registry's or the engine's words.
        message: String,
    },
    /// A registry refused or did not answer.
    #[error("failed to deliver {service}")]
    Registry {
        /// Whose image.
        service: ServiceName,
        /// Where, while doing what, and why.
        #[source]
        source: RegistryError,
    },
    /// Pods would not start: the runtime of a node cannot unpack the layers.
    #[error(
        "node {node} runs {runtime}, which cannot unpack the image of {service}: its layers are compressed with zstd"
    )]
    Zstd {
        /// Whose image.
        service: ServiceName,
        /// A node of the cluster.
        node: String,
        /// Such as `docker://20.10.24`.
        runtime: String,
    },
    /// Docker's logins cannot be read.
    #[error(transparent)]
    Login(#[from] DockerConfigError),
    /// The connection to the engine broke, or it refused.
    #[error("the Docker engine failed to {action}")]
    Engine {
        /// What it was to do.
        action: String,
        /// Why.
        #[source]
        source: DockerError,
    },
    /// The engine did not take an image.
    #[error("failed to load {service} into the Docker engine")]
    Load {
        /// Whose image.
        service: ServiceName,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// There is no engine to deliver to or from.
    #[error("a Docker engine is needed for this delivery")]
    NoEngine,
    /// The image is not in the store as it should be.
    #[error("failed to read the image of {service}")]
    Store {
        /// Whose image.
        service: ServiceName,
        /// Why.
        #[source]
        source: LayoutError,
    },
    /// It was built for other machines.
    #[error(
        "the image of {service} is for {}, and what it is to run on is {wanted}",
        listed(available)
    )]
    Platform {
        /// Whose image.
        service: ServiceName,
        /// What is needed.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<Platform>,
    },
    /// The image could not be read while it was sent.
    #[error("failed to read the image of {service}")]
    Unreadable {
        /// Whose image.
        service: ServiceName,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The engine's copy cannot be used.
    #[error("failed to take the image of {service} out of the Docker engine")]
    Saved {
        /// Whose image.
        service: ServiceName,
        /// Why.
        #[source]
        source: ArchiveError,
    },
    /// A node did not take an image.
    #[error("node {node} did not take the image: {message}")]
    Node {
        /// The name of its container.
        node: String,
        /// Its last words.
        message: String,
    },
    /// The layout of `--to oci:DIR` cannot be written.
    #[error("failed to write the image layout `{}`", folder.display())]
    Layout {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: LayoutError,
    },
    /// The file of `--to archive:FILE`, or one for a cluster's tool, cannot be written.
    #[error("failed to write `{}`", file.display())]
    Archive {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file of `--to archive:FILE` is something else.
    #[error("`{}` is not overwritten: it is no archive of images", file.display())]
    ForeignArchive {
        /// The file.
        file: PathBuf,
    },
    /// Ctrl-C.
    #[error("the delivery was interrupted")]
    Interrupted,
}

impl Explain for DeliveryError {
    fn exit(&self) -> Exit {
        match self {
            Self::Interrupted => Exit::Interrupted,
            Self::ForeignArchive { .. } => Exit::BadInput,
            Self::Zstd { .. } | Self::Platform { .. } => Exit::Refused,
            _ => Exit::Failed,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let error = |code| Diagnostic::error(code, self.to_string());
        let caused = |code, source: &(dyn Error + 'static)| with_cause(error(code), source);
        vec![match self {
            Self::NoTool { tool } => error(NO_TOOL).hint(format!(
                "install {tool}, or write `registry: HOST/PATH` in the environment's file"
            )),
            Self::ToolStart { source, .. } => caused(TOOL, source),
            Self::Tool { tail, .. } if tail.is_empty() => error(TOOL),
            Self::Tool { tail, .. } => error(TOOL).note(tail.join("\n")),
            Self::Push {
                reference, failure, ..
            } => {
                let found = error(PUSH).note(format!("image {reference}"));
                match failure.hint(registry_of(reference)) {
                    Some(hint) => found.hint(hint),
                    None => found,
                }
            }
            Self::Registry { source, .. } => registry_fault::explain(&self.to_string(), source),
            Self::Zstd { .. } => error(ZSTD)
                .hint("compress the layers of images with gzip, or update the runtime: Docker 23, containerd 1.5"),
            Self::Login(cause) => match cause.source() {
                Some(source) => error(PUSH).caused_by(source),
                None => error(PUSH),
            },
            Self::Engine { source, .. } => caused(ENGINE, source),
            Self::Load { source, .. } => caused(ENGINE, source),
            Self::NoEngine => error(NO_ENGINE)
                .hint("start Docker, or deliver to a registry: `registry: HOST/PATH` in the environment's file"),
            Self::Store { source, .. } => caused(UNREADABLE, source),
            Self::Unreadable { source, .. } => caused(UNREADABLE, source),
            Self::Platform { wanted, .. } => error(PLATFORM).hint(format!(
                "add {wanted} to `platforms` in its service.yaml, or take it elsewhere: `--to registry`, `oci:DIR` or `archive:FILE`"
            )),
            Self::Saved { source, .. } => caused(SAVED, source),
            Self::Node { node, message } if is_disk_full(message) => error(DISK_FULL).hint(format!(
                "make room on the disk of node {node}: its containerd keeps images under /var/lib"
            )),
            Self::Node { node, .. } => error(NODE).hint(format!(
                "`docker logs {node}` shows what the node does; creating the cluster anew helps if it is broken"
            )),
            Self::Layout { source, .. } => writable(caused(UNWRITABLE, source)),
            Self::Archive { source, .. } => writable(caused(UNWRITABLE, source)),
            Self::ForeignArchive { .. } => {
                error(FOREIGN).hint("choose another file, or remove this one")
            }
            Self::Interrupted => error(INTERRUPTED),
        }]
    }
}

fn listed(platforms: &[Platform]) -> String {
    let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    names.join(", ")
}

/// Says what is left to do where nothing was said yet.
fn writable(error: Diagnostic) -> Diagnostic {
    match error.hints.is_empty() {
        true => error.hint("choose another place with `--to`, or make this one writable"),
        false => error,
    }
}

/// A full disk is another problem than what it happened to.
fn with_cause(error: Diagnostic, source: &(dyn Error + 'static)) -> Diagnostic {
    let error = error.caused_by(source);
    if error.notes.iter().any(|note| is_disk_full(note)) {
        return Diagnostic {
            code: DISK_FULL,
            ..error.hint("make room on the disk; `docker system df` shows what the engine keeps")
        };
    }
    error
}

/// As Linux and everything on it puts it.
fn is_disk_full(message: &str) -> bool {
    message
        .to_ascii_lowercase()
        .contains("no space left on device")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(error: &DeliveryError) -> Diagnostic {
        error.diagnostics().remove(0)
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let node = |message: &str| {
            first(&DeliveryError::Node {
                node: "kind-worker".into(),
                message: message.into(),
            })
        };
        let full = node("ctr: write /var/lib/containerd/x: no space left on device");
        assert_eq!(full.code, DISK_FULL);
        assert!(full.hints[0].contains("kind-worker"));
        assert_eq!(node("ctr: connection refused").code, NODE);
        let archive = |source| {
            first(&DeliveryError::Archive {
                file: "a.tar".into(),
                source,
            })
        };
        assert_eq!(archive(io::Error::from_raw_os_error(28)).code, DISK_FULL);
        assert_eq!(archive(io::Error::from_raw_os_error(13)).code, UNWRITABLE);
    }

    #[test]
    fn exits_tell_a_mistake_from_a_failure() {
        let foreign = DeliveryError::ForeignArchive {
            file: "thesis.tar".into(),
        };
        assert_eq!(foreign.exit(), Exit::BadInput);
        assert_eq!(
            foreign.to_string(),
            "`thesis.tar` is not overwritten: it is no archive of images"
        );
        assert_eq!(DeliveryError::Interrupted.exit(), Exit::Interrupted);
        assert_eq!(DeliveryError::NoEngine.exit(), Exit::Failed);
    }
}
