//! A BuildKit session: what the engine may ask us for while it builds. It calls us by gRPC over a connection that we
//! open. bollard's own session of a build offers logins only, no secrets and no agent.

use std::path::PathBuf;
use std::pin::Pin;

use bollard::body_full;
use bollard::errors::Error as DockerError;
use bollard::health::health_check_response::ServingStatus;
use bollard::health::health_server::{Health, HealthServer};
use bollard::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use bollard::moby::buildkit::secrets::v1::secrets_server::{
    Secrets as SecretsService, SecretsServer,
};
use bollard::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
    GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
    VerifyTokenAuthorityResponse,
};
use bollard::moby::sshforward::v1::ssh_server::{Ssh, SshServer};
use bollard::moby::sshforward::v1::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tonic::{Response, Status, Streaming};

use super::auth_key::host_of;
use super::docker_config::{DockerConfig, place_of};
use super::engine::{self, Engine};
use super::secrets::Secrets;

/// Between the hijacked connection and the gRPC server.
const BUFFER: usize = 64 * 1024;
/// One message of an agent at most; RFC draft-miller-ssh-agent allows less.
const AGENT_PIECE: usize = 32 * 1024;

/// The methods we answer; what is not named here the engine does without.
const LOGINS: &str = "/moby.filesync.v1.Auth/Credentials";
const SECRETS: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const AGENT: [&str; 2] = [
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
];

/// What a build may use.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// For `RUN --mount=type=secret`.
    pub secrets: Secrets,
    /// The socket for `RUN --mount=type=ssh`.
    pub agent: Option<PathBuf>,
    /// Logins for the registries of base images.
    pub logins: Logins,
}

/// An open session; ends when dropped.
#[derive(Debug)]
pub(super) struct Session {
    /// What a build names it by.
    pub id: String,
    serving: JoinHandle<()>,
}

impl Session {
    /// `None` if the engine has no sessions.
    pub(super) async fn open(engine: &Engine, offer: Offer) -> Result<Option<Self>, DockerError> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let mut request = Request::post(engine::url("/session"))
            .header("Connection", "Upgrade")
            .header("Upgrade", "h2c")
            .header("X-Docker-Expose-Session-Uuid", &id)
            .header("X-Docker-Expose-Session-Name", "stackctl");
        for method in methods(&offer) {
            request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
        }
        let answer = match engine.request(request.body(body_full(Bytes::new()))?).await {
            Err(DockerError::DockerResponseServerError {
                status_code: 404, ..
            }) => return Ok(None),
            answer => answer?,
        };
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(None);
        }
        let connection = hyper::upgrade::on(answer).await?;
        Ok(Some(Self {
            id,
            serving: tokio::spawn(serve(TokioIo::new(connection), offer)),
        }))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn methods(offer: &Offer) -> Vec<&'static str> {
    let mut methods = vec![LOGINS];
    if !offer.secrets.is_empty() {
        methods.push(SECRETS);
    }
    if offer.agent.is_some() {
        methods.extend(AGENT);
    }
    methods
}

async fn serve(mut connection: TokioIo<hyper::upgrade::Upgraded>, offer: Offer) {
    // tonic knows what a duplex stream is, but not an upgraded connection.
    let (mut near, far) = tokio::io::duplex(BUFFER);
    let mut router = tonic::transport::Server::builder()
        .add_service(HealthServer::new(Healthy))
        .add_service(AuthServer::new(offer.logins));
    if !offer.secrets.is_empty() {
        router = router.add_service(SecretsServer::new(offer.secrets));
    }
    if let Some(agent) = offer.agent {
        router = router.add_service(SshServer::new(Agent(agent)));
    }
    let incoming = futures_util::stream::iter([Ok::<_, std::io::Error>(far)])
        .chain(futures_util::stream::pending());
    // The build's own answer tells when something went wrong.
    tokio::select! {
        _ = router.serve_with_incoming(incoming) => {}
        _ = tokio::io::copy_bidirectional(&mut connection, &mut near) => {}
    }
}

/// BuildKit asks every few seconds and gives up a session that does not answer.
struct Healthy;

const HEALTHY: HealthCheckResponse = HealthCheckResponse {
    status: ServingStatus::Serving as i32,
};

#[tonic::async_trait]
impl Health for Healthy {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        _request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HEALTHY))
    }

    async fn list(
        &self,
        _request: tonic::Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let statuses = [(String::new(), HEALTHY)].into();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    async fn watch(
        &self,
        _request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let once = futures_util::stream::iter([Ok(HEALTHY)]);
        Ok(Response::new(Box::pin(
            once.chain(futures_util::stream::pending()),
        )))
    }
}

/// The logins of `docker login`. The engine fetches tokens itself.
#[derive(Debug, Default)]
pub(super) struct Logins {
    /// `None`: there are none.
    pub config: Option<DockerConfig>,
    /// The base images, `HOST/REPOSITORY`: the engine asks for a registry, and a login may be for a part of it.
    pub bases: Vec<String>,
}

impl Logins {
    /// What the user has, for base images of these references.
    pub(super) fn load<'a>(bases: impl Iterator<Item = &'a str>) -> Self {
        Self {
            config: DockerConfig::load().ok(),
            bases: bases.map(place_of).collect(),
        }
    }
}

#[tonic::async_trait]
impl Auth for Logins {
    async fn credentials(
        &self,
        request: tonic::Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let request = request.into_inner();
        let host = match request.host.as_str() {
            "registry-1.docker.io" | "index.docker.io" => "docker.io",
            host => host,
        };
        let base = self.bases.iter().find(|base| host_of(base) == host);
        let place = base.map_or(host, String::as_str);
        let login = match &self.config {
            // A login that cannot be had is none: the image may be public.
            Some(config) => config.credentials(place).await.ok().flatten(),
            None => None,
        };
        let answer = match login {
            Some(login) => match login.identitytoken {
                Some(token) => CredentialsResponse {
                    username: String::new(),
                    secret: token,
                },
                None => CredentialsResponse {
                    username: login.username.unwrap_or_default(),
                    secret: login.password.unwrap_or_default(),
                },
            },
            None => CredentialsResponse::default(),
        };
        Ok(Response::new(answer))
    }

    async fn fetch_token(
        &self,
        _request: tonic::Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("the engine fetches tokens"))
    }

    async fn get_token_authority(
        &self,
        _request: tonic::Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the engine fetches tokens"))
    }

    async fn verify_token_authority(
        &self,
        _request: tonic::Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the engine fetches tokens"))
    }
}

#[tonic::async_trait]
impl SecretsService for Secrets {
    async fn get_secret(
        &self,
        request: tonic::Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        // BuildKit knows `NotFound` as the answer for an optional secret that is not there.
        let value = self
            .get(&id)
            .ok_or_else(|| Status::not_found(format!("there is no secret `{id}`")))?;
        Ok(Response::new(GetSecretResponse {
            data: value.to_vec(),
        }))
    }
}

/// The socket of an ssh agent; bytes go through unread.
struct Agent(PathBuf);

#[tonic::async_trait]
impl Ssh for Agent {
    type ForwardAgentStream = Pin<Box<dyn Stream<Item = Result<BytesMessage, Status>> + Send>>;

    async fn check_agent(
        &self,
        request: tonic::Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        match request.into_inner().id.as_str() {
            "" | "default" => Ok(Response::new(CheckAgentResponse {})),
            other => Err(Status::not_found(format!(
                "there is no agent `{other}`, only `default`"
            ))),
        }
    }

    async fn forward_agent(
        &self,
        request: tonic::Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let socket = UnixStream::connect(&self.0)
            .await
            .map_err(|error| Status::unavailable(format!("the ssh agent: {error}")))?;
        let (reader, mut writer) = socket.into_split();
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = requests.message().await {
                if writer.write_all(&message.data).await.is_err() {
                    break;
                }
            }
        });
        let answers = futures_util::stream::try_unfold(reader, |mut reader| async move {
            let mut data = vec![0; AGENT_PIECE];
            let length = reader.read(&mut data).await?;
            data.truncate(length);
            Ok((length > 0).then_some((BytesMessage { data }, reader)))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_login_of_a_registry_is_the_one_for_its_base_image() {
        let folder = tempfile::tempdir().unwrap();
        // `printf team:x | base64`, `printf other:x | base64`
        let json = r#"{"auths": {"ghcr.io/team": {"auth": "dGVhbTp4"}, "ghcr.io/other": {"auth": "b3RoZXI6eA=="},
            "r.example.com": {"auth": "b3RoZXI6eA=="}}}"#;
        std::fs::write(folder.path().join("config.json"), json).unwrap();
        let logins = Logins {
            config: Some(DockerConfig::read(folder.path()).unwrap()),
            bases: vec!["ghcr.io/team/base".to_owned()],
        };
        for (host, expected) in [
            ("ghcr.io", "team"),
            ("r.example.com", "other"),
            ("docker.io", ""),
        ] {
            let request = CredentialsRequest {
                host: host.to_owned(),
            };
            let answer = logins.credentials(tonic::Request::new(request)).await;
            assert_eq!(answer.unwrap().into_inner().username, expected, "{host}");
        }
    }
}
