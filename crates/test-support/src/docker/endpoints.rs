//! What the engine answers, endpoint by endpoint.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{FakeDocker, FakeImage, REGISTRY_DIGEST};
use crate::session;

pub(super) fn router(docker: FakeDocker) -> Router {
    Router::new()
        .route("/_ping", get(ping))
        .route("/info", get(info))
        .route("/session", post(session))
        .route("/images/json", get(list))
        .route("/images/load", post(load))
        .route("/build", post(build))
        .fallback(named)
        .with_state(docker)
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
