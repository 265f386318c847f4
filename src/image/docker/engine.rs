//! The Docker engine: one connection to it, and what it can do.

use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as DockerError;
use bollard::query_parameters::TagImageOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, body_full};
use bytes::Bytes;
use http::header::HeaderValue;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};

use super::docker_config::{DockerConfig, DockerConfigError};
use super::endpoint::{EngineAddress, Variables, choose};
use super::tls::{self, EngineTls, TlsError};
use super::transport::{Carrier, Transport};

/// No Docker engine to work with.
pub const NO_ENGINE: Code = Code::new("S0401");
/// Certificates for an engine that cannot be used.
const CERTIFICATES: Code = Code::new("S0440");

/// An engine that takes longer to say that it is there is not there.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// ssh logs in first.
const SSH_TIMEOUT: Duration = Duration::from_secs(30);
/// bollard's limit for the time until an answer begins: loads and pushes answer late.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3600);
/// The first version of the API (Docker 18.09) whose engines have BuildKit.
const BUILDKIT_API: (u32, u32) = (1, 39);
/// Requests name a host; the transport knows the way.
const BASE: &str = "http://docker";

/// A connection to a running engine.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    address: String,
    /// For what bollard has no call.
    carrier: Option<Carrier>,
}

/// What builds Dockerfiles in an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builder {
    /// With sessions: secrets, mounts, stages in parallel.
    BuildKit,
    /// One container for each step.
    Classic(Reason),
}

/// Why it is the classic builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// `DOCKER_BUILDKIT=0`.
    Chosen,
    /// The engine has no other.
    Lacking,
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
        /// With TLS: the certificates that were used.
        tls: Option<EngineTls>,
        /// Why not.
        #[source]
        source: Box<DockerError>,
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
    /// The certificates for it cannot be used.
    #[error("the certificates for the Docker engine at {address} ({origin}) cannot be used")]
    Tls {
        /// Where it is.
        address: String,
        /// Who said so.
        origin: String,
        /// What is wrong with them.
        #[source]
        source: TlsError,
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

impl Engine {
    /// Connects as `docker` would: `DOCKER_HOST`, else `DOCKER_CONTEXT`, else the current context, else the socket.
    pub async fn connect() -> Result<Self, EngineError> {
        Self::connect_to(&choose(&Variables::read(), &DockerConfig::load()?)?).await
    }

    /// Connects to the engine at `address` and waits until it answers.
    pub async fn connect_to(address: &EngineAddress) -> Result<Self, EngineError> {
        let engine = Self::from_carrier(Transport::to(address)?.carrier(), address.url.clone());
        let limit = match address.url.starts_with("ssh://") {
            true => SSH_TIMEOUT,
            false => PING_TIMEOUT,
        };
        let answer = tokio::time::timeout(limit, engine.docker.ping()).await;
        match answer.unwrap_or(Err(DockerError::RequestTimeoutError)) {
            Ok(_) => Ok(engine),
            Err(source) => Err(EngineError::Unreachable {
                address: address.url.clone(),
                origin: address.origin.clone(),
                tls: address.secured(),
                source: Box::new(source),
            }),
        }
    }

    /// Works over what leads to a running engine.
    #[must_use]
    pub fn from_carrier(carrier: Carrier, address: impl Into<String>) -> Self {
        let requests = Arc::clone(&carrier);
        let docker = Docker::connect_with_custom_transport(
            move |request: BollardRequest| requests(request),
            Some(BASE),
            ANSWER_TIMEOUT.as_secs(),
            API_DEFAULT_VERSION,
        )
        .expect("a custom transport has nothing to connect to");
        Self {
            carrier: Some(carrier),
            ..Self::from_docker(docker, address)
        }
    }

    /// Works with an open connection, as tests do; it has no sessions, so no BuildKit.
    #[must_use]
    pub fn from_docker(docker: Docker, address: impl Into<String>) -> Self {
        Self {
            docker: docker
                .with_timeout(ANSWER_TIMEOUT)
                .with_request_modifier(url_safe_credentials),
            address: address.into(),
            carrier: None,
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

    /// Gives an image another name.
    pub(crate) async fn tag(&self, id: &str, reference: &str) -> Result<(), DockerError> {
        let (repository, tag) = match reference.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (reference, "latest"),
        };
        let options = TagImageOptionsBuilder::new()
            .repo(repository)
            .tag(tag)
            .build();
        self.docker.tag_image(id, Some(options)).await
    }

    /// Which builder to use; `DOCKER_BUILDKIT=0` asks for the classic one, as for `docker build`.
    pub(crate) async fn builder(&self) -> Result<Builder, DockerError> {
        let choice = std::env::var("DOCKER_BUILDKIT").ok();
        if matches!(choice.as_deref(), Some("0" | "false")) {
            return Ok(Builder::Classic(Reason::Chosen));
        }
        if self.carrier.is_none() {
            return Ok(Builder::Classic(Reason::Lacking));
        }
        let answer = self.send(Request::get(url("/_ping"))).await?;
        let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let newest = header("builder-version").is_some_and(|version| version == "2");
        let linux = header("ostype").is_none_or(|system| system == "linux");
        let api = header("api-version").and_then(|version| {
            let (major, minor) = version.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        let podman = header("libpod-api-version").is_some();
        let has =
            newest || (linux && !podman && api.is_some_and(|api: (u32, u32)| api >= BUILDKIT_API));
        Ok(if has {
            Builder::BuildKit
        } else {
            Builder::Classic(Reason::Lacking)
        })
    }

    /// One request that bollard has no call for; answers of 400 and above are errors.
    pub(super) async fn request(
        &self,
        request: BollardRequest,
    ) -> Result<Response<Incoming>, DockerError> {
        let Some(carrier) = &self.carrier else {
            return Err(DockerError::IOError {
                err: std::io::Error::other("this connection takes no requests of its own"),
            });
        };
        let answer = carrier(request).await?;
        let status_code = answer.status().as_u16();
        if status_code < 400 {
            return Ok(answer);
        }
        let body = answer.into_body().collect().await?.to_bytes();
        let message = serde_json::from_slice::<serde_json::Value>(&body)
            .ok()
            .and_then(|body| Some(body.get("message")?.as_str()?.to_owned()))
            .unwrap_or_else(|| String::from_utf8_lossy(&body).trim().to_owned());
        Err(DockerError::DockerResponseServerError {
            status_code,
            message,
        })
    }

    async fn send(
        &self,
        request: http::request::Builder,
    ) -> Result<Response<Incoming>, DockerError> {
        self.request(request.body(body_full(Bytes::new()))?).await
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The URL of a path of the API.
pub(super) fn url(path: &str) -> String {
    format!("{BASE}{path}")
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
        let error = |code| Diagnostic::error(code, self.to_string());
        vec![match self {
            Self::Unreachable {
                address,
                tls,
                source,
                ..
            } => unreachable(error(NO_ENGINE), address, tls.as_ref(), source),
            Self::Unsupported { .. } => error(NO_ENGINE)
                .hint("forward its socket, `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST`, and set DOCKER_HOST=unix:///tmp/docker.sock"),
            Self::Tls { source, .. } => error(CERTIFICATES).caused_by(source).hint(
                "DOCKER_CERT_PATH, else the context, names a folder with ca.pem, cert.pem and key.pem",
            ),
            Self::NoContext { .. } => error(NO_ENGINE).hint("`docker context ls` lists the contexts there are"),
            Self::Config(cause) => match std::error::Error::source(cause) {
                Some(source) => error(NO_ENGINE).caused_by(source),
                None => error(NO_ENGINE),
            },
        }]
    }
}

fn unreachable(
    error: Diagnostic,
    address: &str,
    tls: Option<&EngineTls>,
    source: &DockerError,
) -> Diagnostic {
    if let Some(found) = tls.and_then(|tls| tls::explain(source, tls)) {
        return error.note(found.note).hint(found.hint).caused_by(source);
    }
    let error = error.caused_by(source);
    let says = |words: &str| error.notes.iter().any(|note| note.contains(words));
    if says("ermission denied") && address.starts_with("unix://") {
        error.hint("your user may not use it: `sudo usermod -aG docker $USER`, then log in again")
    } else if says("HTTP request to an HTTPS server") {
        error.hint("it wants TLS: set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the folder with ca.pem, cert.pem and key.pem")
    } else if address.starts_with("ssh://") {
        error.hint("`ssh HOST docker system dial-stdio` must work without a password: load your key, `ssh-add`, and install docker there")
    } else {
        error
            .hint("start it: `sudo systemctl start docker`, or open Docker Desktop")
            .hint("if it runs elsewhere, set DOCKER_HOST or choose it by `docker context use`")
    }
}

#[cfg(test)]
mod tests;
