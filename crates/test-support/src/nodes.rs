//! Nodes of a local cluster for tests: containers of a Docker engine, with as much of `ctr` in them as delivery uses.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An engine with nodes; clones share it.
#[derive(Clone, Default)]
pub struct FakeNodes(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    nodes: Vec<FakeNode>,
    commands: Vec<(String, Vec<String>)>,
    statuses: BTreeMap<usize, i64>,
    imports: Vec<Vec<String>>,
}

/// A containerd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FakeNode {
    /// The container's name and id.
    pub name: String,
    /// The container's labels.
    pub labels: BTreeMap<String, String>,
    /// Digests of manifests by name.
    pub images: BTreeMap<String, String>,
    /// What is stored.
    pub blobs: BTreeSet<String>,
    /// Is collected as garbage right after it was listed.
    pub lost: BTreeSet<String>,
    /// Imports end with these words.
    pub refuses: Option<String>,
}

impl FakeNodes {
    /// An engine whose containers these are.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = FakeNode>) -> Self {
        let fake = Self::default();
        fake.inner().nodes = nodes.into_iter().collect();
        fake
    }

    /// A client of the engine.
    #[must_use]
    pub fn client(&self) -> Docker {
        let router = Router::new()
            .route("/containers/json", get(containers))
            .route("/containers/{id}/exec", post(create))
            .route("/exec/{id}/start", post(start))
            .route("/exec/{id}/json", get(inspect))
            .with_state(self.clone());
        let transport = move |request: BollardRequest| in_memory(router.clone(), request);
        Docker::connect_with_custom_transport(
            transport,
            Some("http://fake"),
            30,
            API_DEFAULT_VERSION,
        )
        .expect("a custom transport has nothing to connect to")
    }

    /// The nodes as they are now.
    #[must_use]
    pub fn nodes(&self) -> Vec<FakeNode> {
        self.inner().nodes.clone()
    }

    /// The files of each imported archive so far.
    #[must_use]
    pub fn imports(&self) -> Vec<Vec<String>> {
        self.inner().imports.clone()
    }

    /// Node and command line of everything that was run.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        let line =
            |(node, command): &(String, Vec<String>)| format!("{node}: {}", command.join(" "));
        self.inner().commands.iter().map(line).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a command; returns its standard output, or what it says before it fails.
    fn run(&self, node: &str, command: &[String], stdin: &[u8]) -> Result<String, String> {
        let mut inner = self.inner();
        let Inner { nodes, imports, .. } = &mut *inner;
        let node = nodes
            .iter_mut()
            .find(|found| found.name == node)
            .ok_or("no such node")?;
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["ctr", "--namespace", "k8s.io", "images", "ls"] => Ok(node.list_images()),
            ["ctr", "--namespace", "k8s.io", "content", "ls", "--quiet"] => Ok(node.list_blobs()),
            ["ctr", "--namespace", "k8s.io", "images", "rm", name] => {
                node.images.remove(*name);
                Ok(String::new())
            }
            ["ctr", "--namespace", "k8s.io", "images", "import", .., "-"] => {
                let files = files(stdin);
                imports.push(files.keys().cloned().collect());
                node.import(&files)
            }
            ["sh", "-c", _] => Ok(
                "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\""
                    .into(),
            ),
            _ => Err(format!("{words:?} is not known")),
        }
    }
}

impl FakeNode {
    fn list_images(&self) -> String {
        let mut table = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n".to_owned();
        for (name, digest) in &self.images {
            table += &format!("{name}   application/json {digest} 2.0 MiB linux/amd64 -\n");
        }
        table
    }

    fn list_blobs(&mut self) -> String {
        let listed: Vec<String> = self.blobs.iter().cloned().collect();
        for lost in &self.lost {
            self.blobs.remove(lost);
        }
        listed.join("\n")
    }

    /// As `ctr` does: the image has its name before it shows that a layer is missing.
    fn import(&mut self, files: &BTreeMap<String, Vec<u8>>) -> Result<String, String> {
        if let Some(words) = &self.refuses {
            return Err(words.clone());
        }
        let document = |path: &str| -> Result<Value, String> {
            let content = files.get(path).ok_or(format!("{path}: not found"))?;
            serde_json::from_slice(content).map_err(|error| error.to_string())
        };
        for (path, content) in files {
            if path.starts_with("blobs/sha256/") {
                let digest = digest(content);
                if !path.ends_with(&digest[7..]) {
                    return Err(format!("{path}: unexpected digest {digest}"));
                }
                self.blobs.insert(digest);
            }
        }
        if !files.contains_key("oci-layout") {
            let manifest = document("manifest.json")?;
            let name = format!("docker.io/{}", text(&manifest[0]["RepoTags"][0]));
            let config = digest(&files[text(&manifest[0]["Config"])]);
            // containerd makes a manifest of its own for what is no OCI image.
            let converted = digest(&files["manifest.json"]);
            self.images.insert(config, converted.clone());
            self.images.insert(name, converted);
            return Ok("done".into());
        }
        let index = document("index.json")?;
        let image = &index["manifests"][0];
        let name = text(&image["annotations"]["io.containerd.image.name"]);
        let manifest_digest = text(&image["digest"]);
        let manifest = document(&format!("blobs/sha256/{}", &manifest_digest[7..]))?;
        self.images
            .insert(name.to_owned(), manifest_digest.to_owned());
        for layer in manifest["layers"].as_array().into_iter().flatten() {
            let digest = text(&layer["digest"]);
            if !self.blobs.contains(digest) {
                return Err(format!("ctr: content digest {digest}: not found"));
            }
        }
        Ok("done".into())
    }
}

async fn containers(State(fake): State<FakeNodes>) -> Json<Value> {
    let nodes = fake.nodes().into_iter();
    let containers = nodes.map(|node| json!({"Id": node.name, "Names": [format!("/{}", node.name)], "Labels": node.labels}));
    Json(containers.collect())
}

async fn create(
    State(fake): State<FakeNodes>,
    Path(node): Path<String>,
    Json(options): Json<Value>,
) -> Response {
    let command = serde_json::from_value(options["Cmd"].clone()).unwrap_or_default();
    let mut inner = fake.inner();
    inner.commands.push((node, command));
    let id = (inner.commands.len() - 1).to_string();
    (StatusCode::CREATED, Json(json!({"Id": id}))).into_response()
}

/// The connection turns into the command's standard streams, as of Docker's `attach`.
async fn start(
    State(fake): State<FakeNodes>,
    Path(id): Path<usize>,
    mut request: Request,
) -> Response {
    let Some(upgrade) = request
        .extensions_mut()
        .remove::<hyper::upgrade::OnUpgrade>()
    else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let (node, command) = fake.inner().commands[id].clone();
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut stream = TokioIo::new(upgraded);
        let mut stdin = Vec::new();
        if command.last().is_some_and(|last| last == "-") {
            stream.read_to_end(&mut stdin).await.ok();
        }
        let (number, words) = match fake.run(&node, &command, &stdin) {
            Ok(stdout) => (1, stdout),
            Err(stderr) => (2, stderr),
        };
        fake.inner().statuses.insert(id, i64::from(number - 1));
        let mut frame = vec![number, 0, 0, 0];
        frame.extend(u32::try_from(words.len()).unwrap_or(0).to_be_bytes());
        frame.extend(words.as_bytes());
        stream.write_all(&frame).await.ok();
        stream.shutdown().await.ok();
    });
    let headers = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, "tcp")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

async fn inspect(State(fake): State<FakeNodes>, Path(id): Path<usize>) -> Json<Value> {
    let status = fake.inner().statuses.get(&id).copied();
    Json(json!({"ID": id.to_string(), "Running": status.is_none(), "ExitCode": status}))
}

async fn in_memory(
    router: Router,
    request: BollardRequest,
) -> Result<hyper::Response<hyper::body::Incoming>, bollard::errors::Error> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        // The client may go away first; its own result tells.
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), TowerToHyperService::new(router))
            .with_upgrades()
            .await
            .ok();
    });
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn digest(content: &[u8]) -> String {
    let bytes: [u8; 32] = Sha256::digest(content).into();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn files(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for mut entry in tar::Archive::new(tar)
        .entries()
        .into_iter()
        .flatten()
        .flatten()
    {
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
