//! Why images did not get to the cluster.

use std::io;

use bollard::errors::Error as DockerError;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::image::{DockerConfigError, registry_of};
use crate::stack::ServiceName;

/// The command line tool of a local cluster is missing.
const NO_TOOL: Code = Code::new("S0502");
/// The tool failed.
const TOOL: Code = Code::new("S0503");
/// The registry refused or did not answer.
const PUSH: Code = Code::new("S0504");
/// The engine failed.
const ENGINE: Code = Code::new("S0505");
/// Ctrl-C.
const INTERRUPTED: Code = Code::new("S0506");

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
    /// A push failed.
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
    /// Docker's logins cannot be read.
    #[error(transparent)]
    Login(#[from] DockerConfigError),
    /// The connection to the engine broke.
    #[error("the Docker engine failed to {action}")]
    Engine {
        /// What it was to do.
        action: String,
        /// Why.
        #[source]
        source: DockerError,
    },
    /// Ctrl-C.
    #[error("the delivery was interrupted")]
    Interrupted,
}

/// What keeps an image from a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushFailure {
    /// No login, or not the right one.
    Unauthorized,
    /// It speaks plain http, and the engine insists on https.
    PlainHttp,
    /// Its certificate is not trusted.
    Certificate,
    /// Nobody answers.
    Unreachable,
    /// The registry has no such repository and does not make one.
    NoRepository,
    /// The engine does not have the image.
    NoImage,
    /// Something else.
    Unknown,
}

impl PushFailure {
    /// Reads the kind off an error message of the engine.
    #[must_use]
    pub fn of(message: &str) -> Self {
        let message = message.to_ascii_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
        if has(&["server gave http response to https client"]) {
            Self::PlainHttp
        } else if has(&["x509:", "certificate"]) {
            Self::Certificate
        } else if has(&[
            "no such host",
            "connection refused",
            "i/o timeout",
            "timeout exceeded",
            "network is unreachable",
            "no route to host",
            "tls handshake timeout",
        ]) {
            Self::Unreachable
        } else if has(&[
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "access denied",
            "access to the resource is denied",
            "denied:",
            "forbidden",
        ]) {
            Self::Unauthorized
        } else if has(&["an image does not exist locally", "no such image"]) {
            Self::NoImage
        } else if has(&[
            "name unknown",
            "repository name not known",
            "name_unknown",
            "does not exist",
            "manifest unknown",
            "not found",
        ]) {
            Self::NoRepository
        } else {
            Self::Unknown
        }
    }

    /// Whether a push would meet it, too: then it is not tried, since the engine retries for half a minute.
    #[must_use]
    pub(crate) fn is_hopeless(self) -> bool {
        matches!(
            self,
            Self::PlainHttp | Self::Certificate | Self::Unreachable
        )
    }

    fn hint(self, registry: &str) -> Option<String> {
        Some(match self {
            Self::Unauthorized => format!("log in: `docker login {registry}`"),
            Self::PlainHttp => format!(
                "add \"{registry}\" to \"insecure-registries\" in the engine's /etc/docker/daemon.json and restart it"
            ),
            Self::Certificate => format!(
                "put the registry's CA into /etc/docker/certs.d/{registry}/ca.crt on the engine's machine"
            ),
            Self::Unreachable => {
                "check `registry:` in the environment's file and your network".to_owned()
            }
            Self::NoRepository => format!(
                "create the repository at {registry} first, or check `registry:` in the environment's file"
            ),
            Self::NoImage => "run `stackctl build`".to_owned(),
            Self::Unknown => return None,
        })
    }
}

impl Explain for DeliveryError {
    fn exit(&self) -> Exit {
        match self {
            Self::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let error = |code| Diagnostic::error(code, self.to_string());
        vec![match self {
            Self::NoTool { tool } => error(NO_TOOL).hint(format!(
                "install {tool}, or write `registry: HOST/PATH` in the environment's file"
            )),
            Self::ToolStart { source, .. } => error(TOOL).caused_by(source),
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
            Self::Login(cause) => match std::error::Error::source(cause) {
                Some(source) => error(PUSH).caused_by(source),
                None => error(PUSH),
            },
            Self::Engine { source, .. } => error(ENGINE).caused_by(source),
            Self::Interrupted => error(INTERRUPTED),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_off_the_engines_words() {
        for (message, failure) in [
            (
                "unauthorized: authentication required",
                PushFailure::Unauthorized,
            ),
            (
                "denied: requested access to the resource is denied",
                PushFailure::Unauthorized,
            ),
            ("no basic auth credentials", PushFailure::Unauthorized),
            (
                "Get \"https://r:5000/v2/\": http: server gave HTTP response to HTTPS client",
                PushFailure::PlainHttp,
            ),
            (
                "Get \"https://r/v2/\": x509: certificate signed by unknown authority",
                PushFailure::Certificate,
            ),
            (
                "Get \"https://r/v2/\": dial tcp: lookup r: no such host",
                PushFailure::Unreachable,
            ),
            (
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                PushFailure::Unreachable,
            ),
            (
                "name unknown: The repository with name 'a' does not exist in the registry",
                PushFailure::NoRepository,
            ),
            (
                "An image does not exist locally with the tag: a/b",
                PushFailure::NoImage,
            ),
            (
                "received unexpected HTTP status: 500 Internal Server Error",
                PushFailure::Unknown,
            ),
        ] {
            assert_eq!(PushFailure::of(message), failure, "{message}");
        }
    }
}
