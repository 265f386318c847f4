//! `--to`: where images are to go when not to the environment's own place. Pure.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain, did_you_mean};
use crate::stack::Registry;

use super::route::Route;

/// `--to` is not understood.
const NO_DESTINATION: Code = Code::new("S0512");
/// `--to registry`, and no registry is configured.
const NO_REGISTRY: Code = Code::new("S0513");

const WORDS: [&str; 4] = ["docker", "registry", "oci", "archive"];

/// A place that a user names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// This machine's Docker engine.
    Docker,
    /// The environment's registry.
    Registry,
    /// A folder with an OCI image layout.
    OciLayout(PathBuf),
    /// A file as `docker save` writes it.
    Archive(PathBuf),
}

/// Why a text is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDestination {
    /// No such word.
    #[error(
        "`{0}` is no destination of images: expected docker, registry, oci:DIR or archive:FILE"
    )]
    Unknown(String),
    /// `oci:` or `archive:` without a path, or without the colon.
    #[error("`{word}` needs a path: write `{word}:{path}`")]
    NoPath {
        /// What was written before the colon.
        word: &'static str,
        /// What is to stand after it.
        path: &'static str,
    },
}

/// `--to registry` where the environment names none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("images cannot be pushed: environment `{environment}` has no registry")]
pub struct NoRegistry {
    /// Its name.
    pub environment: String,
}

impl Destination {
    /// The way there.
    pub fn route(
        &self,
        environment: &str,
        registry: Option<&Registry>,
    ) -> Result<Route, NoRegistry> {
        Ok(match self {
            Self::Docker => Route::Engine,
            Self::OciLayout(folder) => Route::OciLayout(folder.clone()),
            Self::Archive(file) => Route::Archive(file.clone()),
            Self::Registry => match registry {
                Some(registry) => Route::Registry(registry.prefix.clone()),
                None => {
                    return Err(NoRegistry {
                        environment: environment.to_owned(),
                    });
                }
            },
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Docker => f.write_str("docker"),
            Self::Registry => f.write_str("registry"),
            Self::OciLayout(folder) => write!(f, "oci:{}", folder.display()),
            Self::Archive(file) => write!(f, "archive:{}", file.display()),
        }
    }
}

impl FromStr for Destination {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, InvalidDestination> {
        let (word, path) = match text.split_once(':') {
            Some((word, path)) => (word, path),
            None => (text, ""),
        };
        match (word, path) {
            ("docker", "") if text == word => Ok(Self::Docker),
            ("registry", "") if text == word => Ok(Self::Registry),
            ("oci", "") => Err(InvalidDestination::NoPath {
                word: "oci",
                path: "DIR",
            }),
            ("archive", "") => Err(InvalidDestination::NoPath {
                word: "archive",
                path: "FILE",
            }),
            ("oci", folder) => Ok(Self::OciLayout(folder.into())),
            ("archive", file) => Ok(Self::Archive(file.into())),
            _ => Err(InvalidDestination::Unknown(text.to_owned())),
        }
    }
}

impl Explain for InvalidDestination {
    fn exit(&self) -> Exit {
        Exit::BadInput
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let error = Diagnostic::error(NO_DESTINATION, self.to_string());
        let meant = match self {
            Self::Unknown(text) => {
                let word = text.split(':').next().unwrap_or(text);
                did_you_mean(word, WORDS)
            }
            Self::NoPath { .. } => None,
        };
        vec![match meant {
            Some(word) => error.hint(format!("did you mean `{word}`?")),
            None => error,
        }]
    }
}

impl Explain for NoRegistry {
    fn exit(&self) -> Exit {
        Exit::BadInput
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![
            Diagnostic::error(NO_REGISTRY, self.to_string()).hint(format!(
                "write `registry: HOST/PATH` in environments/{}.yaml",
                self.environment
            )),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{SourceFile, Span};

    #[test]
    fn destinations_are_read_and_written_alike() {
        for (text, expected) in [
            ("docker", Destination::Docker),
            ("registry", Destination::Registry),
            (
                "oci:out/images",
                Destination::OciLayout("out/images".into()),
            ),
            (
                "archive:/tmp/a:b.tar",
                Destination::Archive("/tmp/a:b.tar".into()),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn other_words_are_explained() {
        for (text, message) in [
            ("oci", "`oci` needs a path: write `oci:DIR`"),
            ("archive:", "`archive` needs a path: write `archive:FILE`"),
            (
                "docker:x",
                "`docker:x` is no destination of images: expected docker, registry, oci:DIR or archive:FILE",
            ),
            (
                "",
                "`` is no destination of images: expected docker, registry, oci:DIR or archive:FILE",
            ),
        ] {
            let error = text.parse::<Destination>().unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(error.exit(), Exit::BadInput);
        }
        let error = "dokcer".parse::<Destination>().unwrap_err();
        assert_eq!(error.diagnostics()[0].hints, ["did you mean `docker`?"]);
    }

    #[test]
    fn a_registry_must_be_configured() {
        let refused = Destination::Registry.route("local", None).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "images cannot be pushed: environment `local` has no registry"
        );
        let registry = Registry {
            prefix: "r.example.com/team".into(),
            span: Span::start_of(&SourceFile::new("e.yaml", "")),
        };
        assert_eq!(
            Destination::Registry.route("local", Some(&registry)),
            Ok(Route::Registry("r.example.com/team".into()))
        );
        assert_eq!(Destination::Docker.route("local", None), Ok(Route::Engine));
    }
}
