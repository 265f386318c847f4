//! Why an image could not be delivered.

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::image::{DockerConfigError, registry_of};

/// A program that brings images into a local cluster does not run.
const NO_PROGRAM: Code = Code::new("S0502");
/// That program failed.
const PROGRAM_FAILED: Code = Code::new("S0503");
/// The registry did not take the image.
const PUSH_FAILED: Code = Code::new("S0504");
/// Ctrl-C.
const CANCELLED: Code = Code::new("S0505");

/// Docker's configuration cannot be used.
const CONFIG: Code = Code::new("S0506");

/// Why an image could not be delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// A program is not installed, or not on the path.
    #[error("`{program}` cannot be started")]
    NoProgram {
        /// Such as `kind`.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A program ended with a failure.
    #[error("`{command}` failed")]
    ProgramFailed {
        /// As it could be typed.
        command: String,
        /// Its last words.
        output: String,
    },
    /// The registry, or the engine on its behalf, said no.
    #[error("{image} cannot be pushed: {message}")]
    Push {
        /// The image.
        image: String,
        /// What was said.
        message: String,
    },
    /// Docker's own configuration, with the logins to registries, is broken.
    #[error(transparent)]
    Config(#[from] DockerConfigError),
    /// Ctrl-C.
    #[error("interrupted while images were delivered")]
    Cancelled,
}

impl Explain for DeliveryError {
    fn exit(&self) -> Exit {
        match self {
            Self::Cancelled => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![match self {
            Self::NoProgram { program, .. } => Diagnostic::error(NO_PROGRAM, self.to_string())
                .caused_by(self)
                .hint(format!(
                    "install {program}: its cluster gets images through it"
                )),
            Self::ProgramFailed { output, .. } => {
                Diagnostic::error(PROGRAM_FAILED, self.to_string()).note(output.clone())
            }
            Self::Push { image, message } => {
                Diagnostic::error(PUSH_FAILED, self.to_string()).hint(push_hint(image, message))
            }
            Self::Config(_) => {
                Diagnostic::error(CONFIG, "the logins to registries cannot be read").caused_by(self)
            }
            Self::Cancelled => Diagnostic::error(CANCELLED, self.to_string()),
        }]
    }
}

fn push_hint(image: &str, message: &str) -> String {
    let registry = registry_of(image);
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["unauthorized", "authentication", "denied", "no basic auth"]) {
        format!("log in: `docker login {registry}`, and check that you may push there")
    } else if says(&["http response to https", "x509", "certificate"]) {
        format!(
            "the engine wants HTTPS: list {registry} under `insecure-registries` in its daemon.json"
        )
    } else if says(&["connection refused", "no such host", "timeout", "dial tcp"]) {
        format!("is {registry} the right address, and can the Docker engine reach it?")
    } else {
        format!("`docker push {image}` does the same by hand")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_fits_what_the_registry_said() {
        for (message, hint) in [
            (
                "unauthorized: authentication required",
                "docker login registry.example.com",
            ),
            (
                "denied: requested access to the resource is denied",
                "docker login",
            ),
            (
                "http: server gave HTTP response to HTTPS client",
                "insecure-registries",
            ),
            (
                "dial tcp 10.0.0.1:443: connect: connection refused",
                "right address",
            ),
            ("something new", "docker push registry.example.com/a/b:1"),
        ] {
            let error = DeliveryError::Push {
                image: "registry.example.com/a/b:1".into(),
                message: message.into(),
            };
            assert!(error.diagnostics()[0].hints[0].contains(hint), "{message}");
        }
    }
}
