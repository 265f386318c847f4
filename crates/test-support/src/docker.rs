//! A Docker engine for tests: the few endpoints that stackctl uses, over memory instead of a socket.

mod endpoints;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use bollard::errors::Error as DockerError;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::Channel;

/// Carries requests to the engine.
pub type Carrier = Arc<
    dyn Fn(
            BollardRequest,
        )
            -> Pin<Box<dyn Future<Output = Result<hyper::Response<Incoming>, DockerError>> + Send>>
        + Send
        + Sync,
>;

/// The digest of everything in the registry that the engine pushes to.
pub const REGISTRY_DIGEST: &str =
    "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// What the engine has and what was asked of it; clones share it.
#[derive(Clone, Default)]
pub struct FakeDocker(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    images: BTreeMap<String, FakeImage>,
    pushed: BTreeMap<String, String>,
    build_answers: Vec<Value>,
    during_builds: Option<Box<dyn Fn() + Send>>,
    push_error: Option<String>,
    load_error: Option<String>,
    loads: Vec<Vec<String>>,
    containerd: bool,
    buildkit: bool,
    sessions: BTreeMap<String, Channel>,
    offered: Vec<String>,
    wanted_secrets: Vec<String>,
    secrets: Vec<Result<Vec<u8>, String>>,
    to_agent: Vec<u8>,
    from_agent: Vec<Result<Vec<u8>, String>>,
    requests: Vec<String>,
    contexts: Vec<Vec<String>>,
    logins: Vec<String>,
}

/// An image of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FakeImage {
    /// `sha256:…`
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Paths in its layers.
    pub files: Vec<String>,
    /// Digests of its layers, lowest first.
    pub layers: Vec<String>,
}

impl FakeDocker {
    /// A client of this engine.
    #[must_use]
    pub fn client(&self) -> Docker {
        let carrier = self.carrier();
        Docker::connect_with_custom_transport(
            move |request: BollardRequest| carrier(request),
            Some("http://fake"),
            30,
            API_DEFAULT_VERSION,
        )
        .expect("a custom transport has nothing to connect to")
    }

    /// The way to this engine, for clients of its own making.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        let router = endpoints::router(self.clone());
        Arc::new(move |request| {
            let router = router.clone();
            Box::pin(async move { in_memory(router, request).await })
        })
    }

    /// Answers the requests of one connection.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        serve(endpoints::router(self.clone()), stream).await;
    }

    /// Makes it an engine with BuildKit, whose builds ask their session for these secrets first.
    pub fn with_buildkit(&self, wanted_secrets: &[&str]) {
        let mut inner = self.inner();
        inner.buildkit = true;
        inner.wanted_secrets = wanted_secrets.iter().map(|&id| id.to_owned()).collect();
    }

    /// The methods that sessions offered so far.
    #[must_use]
    pub fn offered(&self) -> Vec<String> {
        self.inner().offered.clone()
    }

    /// What sessions answered when they were asked for secrets.
    #[must_use]
    pub fn secrets(&self) -> Vec<Result<Vec<u8>, String>> {
        self.inner().secrets.clone()
    }

    /// Makes its builds write this to the ssh agent of their session, and wait for as much.
    pub fn write_to_agents(&self, words: &[u8]) {
        self.inner().to_agent = words.to_owned();
    }

    /// What agents answered.
    #[must_use]
    pub fn from_agents(&self) -> Vec<Result<Vec<u8>, String>> {
        self.inner().from_agent.clone()
    }

    /// Makes it an engine that keeps images as containerd does: an archive must be complete.
    pub fn with_containerd(&self) {
        self.inner().containerd = true;
    }

    /// Makes loads fail.
    pub fn refuse_loads(&self, message: &str) {
        self.inner().load_error = Some(message.to_owned());
    }

    /// The paths in each loaded archive so far.
    #[must_use]
    pub fn loads(&self) -> Vec<Vec<String>> {
        self.inner().loads.clone()
    }

    /// Gives the engine an image.
    pub fn add_image(&self, reference: &str, image: FakeImage) {
        self.inner().images.insert(reference.to_owned(), image);
    }

    /// Takes an image away.
    pub fn remove_image(&self, reference: &str) {
        self.inner().images.remove(reference);
    }

    /// The images by reference.
    #[must_use]
    pub fn images(&self) -> BTreeMap<String, FakeImage> {
        self.inner().images.clone()
    }

    /// What the next builds answer, one JSON message a line.
    pub fn answer_builds(&self, answers: impl IntoIterator<Item = Value>) {
        self.inner().build_answers = answers.into_iter().collect();
    }

    /// Runs while the engine builds.
    pub fn during_builds(&self, action: impl Fn() + Send + 'static) {
        self.inner().during_builds = Some(Box::new(action));
    }

    /// Makes pushes fail.
    pub fn refuse_pushes(&self, message: &str) {
        self.inner().push_error = Some(message.to_owned());
    }

    /// References in the registry.
    #[must_use]
    pub fn pushed(&self) -> Vec<String> {
        self.inner().pushed.keys().cloned().collect()
    }

    /// `METHOD /path?query` of all requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.inner().requests.clone()
    }

    /// The paths in each build context so far.
    #[must_use]
    pub fn contexts(&self) -> Vec<Vec<String>> {
        self.inner().contexts.clone()
    }

    /// The `X-Registry-Auth` headers so far.
    #[must_use]
    pub fn logins(&self) -> Vec<String> {
        self.inner().logins.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request over one connection in memory: bollard's transport wants hyper's own response body.
async fn in_memory(
    router: Router,
    request: BollardRequest,
) -> Result<hyper::Response<Incoming>, DockerError> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(serve(router, far));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}

async fn serve(router: Router, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let service = TowerToHyperService::new(router);
    // The client may go away first; its own result tells.
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
        .ok();
}
