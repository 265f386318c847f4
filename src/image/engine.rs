//! The Docker engine of this machine: where it is, and one connection to it.

use std::env;
use std::time::Duration;

use bollard::errors::Error as DockerError;
use bollard::{API_DEFAULT_VERSION, Docker};
use http::header::HeaderValue;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};

use super::docker_config::{DockerConfig, DockerConfigError};

/// No Docker engine to work with.
pub const NO_ENGINE: Code = Code::new("S0401");

const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";
/// An engine that takes longer to say that it is there is not there.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// bollard's limit for the time until an answer begins: loads and pushes answer late.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3600);

/// A connection to a running engine.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
    address: String,
}

/// Why there is no engine to work with.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It does not answer.
    #[error("no Docker engine answers at {address} ({origin})")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// Who said so.
        origin: String,
        /// Why not.
        #[source]
        source: DockerError,
    },
    /// Its address needs something this program does not speak.
    #[error("the Docker engine at {address} ({origin}) cannot be used: {reason}")]
    Unsupported {
        /// Where it is.
        address: String,
        /// Who said so.
        origin: String,
        /// What is missing.
        reason: &'static str,
    },
    /// The chosen context does not exist.
    #[error("there is no Docker context `{name}` ({origin})")]
    NoContext {
        /// Its name.
        name: String,
        /// Who chose it.
        origin: &'static str,
    },
    /// Docker's own configuration is broken.
    #[error(transparent)]
    Config(#[from] DockerConfigError),
}

/// An address and who named it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    url: String,
    origin: String,
}

/// What decides which engine is used: the variables of the Docker command line.
#[derive(Clone, Debug, Default)]
struct Variables {
    host: Option<String>,
    context: Option<String>,
    tls: bool,
}

impl Engine {
    /// Connects as `docker` would: `DOCKER_HOST`, else `DOCKER_CONTEXT`, else the current context, else the socket.
    pub async fn connect() -> Result<Self, EngineError> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let variables = Variables {
            host: set("DOCKER_HOST"),
            context: set("DOCKER_CONTEXT"),
            tls: set("DOCKER_TLS_VERIFY").is_some() || set("DOCKER_TLS").is_some(),
        };
        let address = choose(&variables, &DockerConfig::load()?)?;
        Self::open(&address).await
    }

    /// Works with an open connection, as tests do.
    #[must_use]
    pub fn from_docker(docker: Docker, address: impl Into<String>) -> Self {
        Self {
            docker: docker
                .with_timeout(ANSWER_TIMEOUT)
                .with_request_modifier(url_safe_credentials),
            address: address.into(),
        }
    }

    /// The connection.
    #[must_use]
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Whether it runs on this machine, as far as its address tells.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address.starts_with("unix://")
    }

    /// The engine's own name: the host it runs on, `docker-desktop`, `minikube`.
    pub async fn name(&self) -> Result<Option<String>, DockerError> {
        Ok(self.docker.info().await?.name)
    }

    /// The id of an image; `None` if the engine does not have it.
    pub async fn image_id(&self, reference: &str) -> Result<Option<String>, DockerError> {
        match self.docker.inspect_image(reference).await {
            Ok(image) => Ok(Some(image.id.unwrap_or_default())),
            Err(DockerError::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn open(address: &Address) -> Result<Self, EngineError> {
        let url = address.url.as_str();
        let seconds = PING_TIMEOUT.as_secs();
        let opened = if url.starts_with("unix://") {
            Docker::connect_with_unix(url, seconds, API_DEFAULT_VERSION)
        } else {
            Docker::connect_with_http(url, seconds, API_DEFAULT_VERSION)
        };
        let unreachable = |source| EngineError::Unreachable {
            address: url.to_owned(),
            origin: address.origin.clone(),
            source,
        };
        let docker = opened.map_err(unreachable)?;
        docker.ping().await.map_err(unreachable)?;
        Ok(Self::from_docker(docker, url))
    }
}

fn choose(variables: &Variables, config: &DockerConfig) -> Result<Address, EngineError> {
    let (url, origin) = if let Some(host) = &variables.host {
        (host.clone(), "set by DOCKER_HOST".to_owned())
    } else {
        match (variables.context.as_deref(), config.current_context()) {
            (Some("default"), _) | (None, None) => {
                (DEFAULT_SOCKET.to_owned(), "the default socket".to_owned())
            }
            (Some(name), _) => (
                context(config, name, "DOCKER_CONTEXT")?,
                format!("context `{name}`"),
            ),
            (None, Some(name)) => (
                context(config, name, "chosen by `docker context use`")?,
                format!("context `{name}`"),
            ),
        }
    };
    let address = Address { url, origin };
    let reason = match address.url.split_once("://") {
        Some(("unix", _)) => return Ok(address),
        Some(("tcp" | "http", _)) if !variables.tls => return Ok(address),
        Some(("tcp" | "http" | "https", _)) => "connections with TLS are not supported",
        Some(("ssh", _)) => "connections over ssh are not supported",
        _ => "its address is not of the form unix:// or tcp://",
    };
    Err(EngineError::Unsupported {
        address: address.url,
        origin: address.origin,
        reason,
    })
}

fn context(config: &DockerConfig, name: &str, origin: &'static str) -> Result<String, EngineError> {
    config
        .context_host(name)?
        .ok_or_else(|| EngineError::NoContext {
            name: name.to_owned(),
            origin,
        })
}

/// The engine reads credentials as URL-safe base64, bollard 0.21 writes the standard alphabet: a password whose
/// encoding has `+` or `/` in it would count as none.
fn url_safe_credentials(mut request: bollard::BollardRequest) -> bollard::BollardRequest {
    for name in ["x-registry-auth", "x-registry-config"] {
        if let Some(value) = request.headers_mut().get_mut(name)
            && let Ok(text) = value.to_str()
            && let Ok(mut safe) = HeaderValue::from_str(&text.replace('+', "-").replace('/', "_"))
        {
            safe.set_sensitive(true);
            *value = safe;
        }
    }
    request
}

impl Explain for EngineError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let error = Diagnostic::error(NO_ENGINE, self.to_string());
        vec![match self {
            Self::Unreachable { source, .. } => {
                let error = error.caused_by(source);
                let denied = error.notes.iter().any(|note| note.contains("ermission denied"));
                if denied {
                    error.hint("your user may not use it: `sudo usermod -aG docker $USER`, then log in again")
                } else {
                    error
                        .hint("start it: `sudo systemctl start docker`, or open Docker Desktop")
                        .hint("if it runs elsewhere, set DOCKER_HOST or choose it by `docker context use`")
                }
            }
            Self::Unsupported { .. } => error
                .hint("forward its socket, `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST`, and set DOCKER_HOST=unix:///tmp/docker.sock"),
            Self::NoContext { .. } => error.hint("`docker context ls` lists the contexts there are"),
            Self::Config(cause) => match std::error::Error::source(cause) {
                Some(source) => error.caused_by(source),
                None => error,
            },
        }]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn variables(host: Option<&str>, context: Option<&str>, tls: bool) -> Variables {
        Variables {
            host: host.map(str::to_owned),
            context: context.map(str::to_owned),
            tls,
        }
    }

    #[test]
    fn the_engine_is_chosen_as_docker_chooses_it() {
        let folder = tempfile::tempdir().unwrap();
        let empty = DockerConfig::read(folder.path()).unwrap();
        fs::write(
            folder.path().join("config.json"),
            r#"{"currentContext":"work"}"#,
        )
        .unwrap();
        let meta = folder
            .path()
            .join("contexts/meta")
            .join(oci_image::Digest::of(b"work").hex());
        fs::create_dir_all(&meta).unwrap();
        fs::write(
            meta.join("meta.json"),
            r#"{"Endpoints":{"docker":{"Host":"unix:///run/work.sock"}}}"#,
        )
        .unwrap();
        let work = DockerConfig::read(folder.path()).unwrap();

        let url = |variables, config| choose(&variables, config).map(|address| address.url);
        assert_eq!(
            url(variables(None, None, false), &empty).unwrap(),
            DEFAULT_SOCKET
        );
        assert_eq!(
            url(variables(None, None, false), &work).unwrap(),
            "unix:///run/work.sock"
        );
        assert_eq!(
            url(variables(None, Some("default"), false), &work).unwrap(),
            DEFAULT_SOCKET
        );
        assert_eq!(
            url(variables(Some("tcp://h:2375"), Some("work"), false), &work).unwrap(),
            "tcp://h:2375"
        );
        assert!(matches!(
            url(variables(None, Some("gone"), false), &work),
            Err(EngineError::NoContext { .. })
        ));
        for (host, tls) in [
            ("tcp://h:2376", true),
            ("ssh://h", false),
            ("h:2375", false),
        ] {
            assert!(
                matches!(
                    url(variables(Some(host), None, tls), &empty),
                    Err(EngineError::Unsupported { .. })
                ),
                "{host}"
            );
        }
    }

    #[tokio::test]
    async fn a_missing_engine_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address {
            url: format!("unix://{}/docker.sock", folder.path().display()),
            origin: "the default socket".into(),
        };
        let error = Engine::open(&address).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Failed);
        let found = &error.diagnostics()[0];
        assert_eq!(found.code, NO_ENGINE);
        assert!(
            found
                .message
                .starts_with("no Docker engine answers at unix://")
        );
        assert!(found.hints.iter().any(|hint| hint.contains("DOCKER_HOST")));
    }
}
