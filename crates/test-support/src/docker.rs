//! A Docker engine for tests: the few endpoints that stackctl uses, over memory instead of a socket.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Read;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bollard::errors::Error as DockerError;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::Channel;

use crate::session;

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
        let router = self.router();
        Arc::new(move |request| {
            let router = router.clone();
            Box::pin(async move { in_memory(router, request).await })
        })
    }

    /// Answers the requests of one connection.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        serve(self.router(), stream).await;
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

    fn router(&self) -> Router {
        Router::new()
            .route("/_ping", get(ping))
            .route("/info", get(info))
            .route("/session", post(session))
            .route("/images/json", get(list))
            .route("/images/load", post(load))
            .route("/build", post(build))
            .fallback(named)
            .with_state(self.clone())
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

async fn ping(State(docker): State<FakeDocker>) -> Response {
    let headers = match docker.inner().buildkit {
        true => [("Builder-Version", "2"), ("Api-Version", "1.43")],
        false => [("Builder-Version", "1"), ("Api-Version", "1.38")],
    };
    (headers, "OK").into_response()
}

async fn info(State(docker): State<FakeDocker>) -> Json<Value> {
    let status = match docker.inner().containerd {
        true => json!([["driver-type", "io.containerd.snapshotter.v1"]]),
        false => json!([["Backing Filesystem", "extfs"]]),
    };
    Json(json!({"Name": "fake", "DriverStatus": status}))
}

/// Keeps the connection as a channel on which the client is the server.
async fn session(
    State(docker): State<FakeDocker>,
    headers: HeaderMap,
    mut request: Request,
) -> Response {
    docker.note("POST /session");
    let methods = headers.get_all("x-docker-expose-session-grpc-method");
    let methods = methods.iter().filter_map(|method| method.to_str().ok());
    docker.inner().offered.extend(methods.map(str::to_owned));
    let id = headers["x-docker-expose-session-uuid"].to_str();
    let id = id.unwrap_or_default().to_owned();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(connection) = upgrade.await
            && let Some(channel) = session::channel(connection).await
        {
            docker.inner().sessions.insert(id, channel);
        }
    });
    let headers = [("Connection", "Upgrade"), ("Upgrade", "h2c")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// One entry an image, with or without names; `filters` as the engine has them, of labels only.
async fn list(
    State(docker): State<FakeDocker>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    docker.note("GET /images/json");
    let filters: Value = query
        .get("filters")
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let labels: Vec<&str> = filters["label"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let has = |image: &FakeImage, label: &str| match label.split_once('=') {
        Some((name, value)) => image.labels.get(name).is_some_and(|found| found == value),
        None => image.labels.contains_key(label),
    };
    let mut listed: BTreeMap<String, (FakeImage, Vec<String>)> = BTreeMap::new();
    for (reference, image) in docker.images() {
        // Some tests give their images no id.
        let id = Some(image.id.clone()).filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| reference.clone());
        let (_, tags) = listed.entry(id).or_insert((image.clone(), Vec::new()));
        if reference != image.id {
            tags.push(reference);
        }
    }
    let images = listed
        .into_values()
        .filter(|(image, _)| labels.iter().all(|label| has(image, label)))
        .map(|(image, tags)| {
            json!({
                "Id": image.id, "ParentId": "", "RepoTags": tags, "RepoDigests": [],
                "Created": 0, "Size": 1, "SharedSize": -1, "Labels": image.labels, "Containers": -1,
            })
        })
        .collect();
    Json(Value::Array(images))
}

/// What `docker load` does with an archive of one layer tar per layer.
async fn load(State(docker): State<FakeDocker>, body: Bytes) -> Response {
    docker.note("POST /images/load");
    let files = files(&body);
    docker.inner().loads.push(files.keys().cloned().collect());
    let refused = docker.inner().load_error.clone();
    if let Some(message) = refused {
        return Json(json!({"errorDetail": {"message": message}, "error": message}))
            .into_response();
    }
    let parse = |name: &str| -> Value {
        files
            .get(name)
            .and_then(|content| serde_json::from_slice(content).ok())
            .unwrap_or_default()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(text).collect()
    };
    let manifest = parse("manifest.json");
    let config_name = text(&manifest[0]["Config"]);
    let config = parse(&config_name);
    let layers = texts(&manifest[0]["Layers"]);
    let digests = texts(&config["rootfs"]["diff_ids"]);
    let missing = layers
        .iter()
        .position(|layer| !files.contains_key(layer))
        .filter(|place| !docker.has_layers(&digests[..=*place]));
    if let Some(place) = missing {
        let message = format!("open {}: no such file or directory", layers[place]);
        return Json(json!({"errorDetail": {"message": message}, "error": message}))
            .into_response();
    }
    let image = FakeImage {
        id: format!("sha256:{}", config_name.trim_end_matches(".json")),
        labels: serde_json::from_value(config["config"]["Labels"].clone()).unwrap_or_default(),
        files: layers
            .iter()
            .filter_map(|layer| files.get(layer))
            .flat_map(|layer| self::files(layer).into_keys())
            .collect(),
        layers: digests,
    };
    for tag in texts(&manifest[0]["RepoTags"]) {
        docker.add_image(&tag, image.clone());
    }
    let progress = json!({
        "status": "Loading layer", "progressDetail": {"current": 1_000_000, "total": 2_000_000},
        "progress": "[=>  ]", "id": "a",
    });
    Body::from(format!(
        "{progress}\n{}\n",
        json!({"stream": "Loaded image\n"})
    ))
    .into_response()
}

async fn build(
    State(docker): State<FakeDocker>,
    Query(query): Query<BTreeMap<String, String>>,
    uri: Uri,
    body: Bytes,
) -> Response {
    docker.note(&format!("POST {}", relative(&uri)));
    if query.get("version").is_some_and(|version| version == "2") {
        docker.ask_session(&query["session"]).await;
    }
    let mut inner = docker.inner();
    inner.contexts.push(files(&body).into_keys().collect());
    if let Some(action) = &inner.during_builds {
        action();
    }
    let lines: String = inner
        .build_answers
        .iter()
        .map(|answer| format!("{answer}\n"))
        .collect();
    let built = inner
        .build_answers
        .iter()
        .filter_map(|answer| answer["aux"]["ID"].as_str());
    let images: Vec<String> = built.map(str::to_owned).collect();
    let labels: BTreeMap<String, String> = query
        .get("labels")
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    // Under its id: an image without a name.
    for id in images {
        let image = FakeImage {
            id: id.clone(),
            labels: labels.clone(),
            ..FakeImage::default()
        };
        inner.images.insert(id, image);
    }
    Body::from(lines).into_response()
}

/// Endpoints with an image's name, slashes and all, in the middle of the path.
async fn named(
    State(docker): State<FakeDocker>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Response {
    let method = request.method().as_str().to_owned();
    let uri = request.uri().clone();
    docker.note(&format!("{method} {}", relative(&uri)));
    if let Some(login) = request.headers().get("x-registry-auth") {
        let login = login.to_str().unwrap_or_default().to_owned();
        docker.inner().logins.push(login);
    }
    let path = uri.path();
    let between = |start: &str, end: &str| {
        let name = path.strip_prefix(start)?.strip_suffix(end)?;
        Some(name.replace("%3A", ":"))
    };
    match method.as_str() {
        "GET" if path.starts_with("/distribution/") => {
            docker.distribution(&between("/distribution/", "/json").unwrap_or_default())
        }
        "GET" => docker.inspect(&between("/images/", "/json").unwrap_or_default()),
        "POST" if path.ends_with("/tag") => {
            docker.tag(&between("/images/", "/tag").unwrap_or_default(), &query)
        }
        "POST" if path.ends_with("/push") => {
            docker.push(&between("/images/", "/push").unwrap_or_default(), &query)
        }
        "DELETE" => docker.delete(&between("/images/", "").unwrap_or_default()),
        _ => error(
            StatusCode::NOT_IMPLEMENTED,
            "the fake engine does not know this endpoint",
        ),
    }
}

impl FakeDocker {
    fn note(&self, request: &str) {
        self.inner().requests.push(request.to_owned());
    }

    /// An image of the engine lies on the same layers; containerd does not look for one.
    fn has_layers(&self, digests: &[String]) -> bool {
        let inner = self.inner();
        let starts = |image: &FakeImage| image.layers.starts_with(digests);
        !inner.containerd && inner.images.values().any(starts)
    }

    async fn ask_session(&self, id: &str) {
        let words = self.inner().to_agent.clone();
        if !words.is_empty() {
            let answer = match self.session(id).await {
                None => Err("no session".to_owned()),
                Some(channel) => session::ask_agent(channel, words).await,
            };
            self.inner().from_agent.push(answer);
        }
        let wanted = self.inner().wanted_secrets.clone();
        for secret in wanted {
            let answer = match self.session(id).await {
                None => Err("no session".to_owned()),
                Some(channel) => session::ask_secret(channel, secret).await,
            };
            self.inner().secrets.push(answer);
        }
    }

    /// A client may start its build before its session is up.
    async fn session(&self, id: &str) -> Option<Channel> {
        for _ in 0..200 {
            if let Some(channel) = self.inner().sessions.get(id) {
                return Some(channel.clone());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    fn inspect(&self, name: &str) -> Response {
        let inner = self.inner();
        let by_id = || inner.images.values().find(|image| image.id == name);
        match inner.images.get(name).or_else(by_id) {
            Some(image) => {
                let root = json!({"Type": "layers", "Layers": image.layers});
                Json(json!({"Id": image.id, "RootFS": root})).into_response()
            }
            None => error(StatusCode::NOT_FOUND, &format!("No such image: {name}")),
        }
    }

    fn tag(&self, name: &str, query: &BTreeMap<String, String>) -> Response {
        let mut inner = self.inner();
        let found = inner.images.get(name).cloned();
        let found = found.or_else(|| {
            inner
                .images
                .values()
                .find(|image| image.id == name)
                .cloned()
        });
        match found {
            Some(image) => {
                let reference = format!("{}:{}", query["repo"], query["tag"]);
                inner.images.insert(reference, image);
                StatusCode::CREATED.into_response()
            }
            None => error(StatusCode::NOT_FOUND, &format!("No such image: {name}")),
        }
    }

    fn delete(&self, name: &str) -> Response {
        match self.inner().images.remove(name) {
            Some(_) => Json(json!([{"Untagged": name}])).into_response(),
            None => error(StatusCode::NOT_FOUND, &format!("No such image: {name}")),
        }
    }

    fn distribution(&self, name: &str) -> Response {
        if self.inner().pushed.contains_key(name) {
            let descriptor = json!({"mediaType": "m", "digest": REGISTRY_DIGEST, "size": 1});
            return Json(json!({"Descriptor": descriptor, "Platforms": []})).into_response();
        }
        let refused = self.inner().push_error.clone();
        match refused {
            Some(message) => error(StatusCode::INTERNAL_SERVER_ERROR, &message),
            None => error(StatusCode::NOT_FOUND, "manifest unknown: manifest unknown"),
        }
    }

    fn push(&self, repository: &str, query: &BTreeMap<String, String>) -> Response {
        let mut inner = self.inner();
        if let Some(message) = &inner.push_error {
            let line = json!({"errorDetail": {"message": message}, "error": message});
            return Body::from(format!("{line}\n")).into_response();
        }
        let reference = format!("{repository}:{}", query["tag"]);
        let Some(image) = inner.images.get(&reference).cloned() else {
            let message = format!("An image does not exist locally with the tag: {repository}");
            return error(StatusCode::NOT_FOUND, &message);
        };
        inner.pushed.insert(reference, image.id);
        let lines = [
            json!({"status": "The push refers to repository"}),
            json!({"status": "Layer already exists", "id": "a"}),
            json!({"status": "Pushed", "id": "b"}),
        ];
        Body::from(lines.map(|line| format!("{line}\n")).concat()).into_response()
    }
}

/// bollard sends absolute URIs through a transport of ours.
fn relative(uri: &Uri) -> String {
    uri.path_and_query()
        .map_or_else(String::new, ToString::to_string)
}

fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"message": message}))).into_response()
}

fn files(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(tar);
    for mut entry in archive.entries().into_iter().flatten().flatten() {
        let mut content = Vec::new();
        let path = entry.path().map(|path| path.display().to_string());
        if let Ok(path) = path
            && entry.read_to_end(&mut content).is_ok()
        {
            files.insert(path, content);
        }
    }
    files
}
