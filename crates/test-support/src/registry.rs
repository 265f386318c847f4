//! A registry in memory, on 127.0.0.1.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

/// As much of a registry as pushes use: blobs and manifests by their paths, mounts, and refusals.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    stored: BTreeMap<String, Bytes>,
    requests: Vec<String>,
    refuses: Option<Refusal>,
}

/// What is answered instead.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// Of the requests it is for.
    pub method: &'static str,
    /// A part of their paths.
    pub path: &'static str,
    /// The status.
    pub status: u16,
    /// The body.
    pub body: &'static str,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<&'static str>,
    /// How many of them.
    pub times: usize,
}

impl Registry {
    /// Starts it; its address.
    pub async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a port").to_string();
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Answers so from now on.
    pub fn refuse(&self, refusal: Refusal) {
        self.content().refuses = Some(refusal);
    }

    /// Stores a blob, and returns its digest.
    pub fn put_blob(&self, repository: &str, blob: &[u8]) -> String {
        let digest = digest(blob);
        self.put(&format!("/v2/{repository}/blobs/{digest}"), blob);
        digest
    }

    /// Stores a manifest or an index, and returns its digest.
    pub fn put_manifest(&self, repository: &str, manifest: &[u8]) -> String {
        let digest = digest(manifest);
        self.put(&format!("/v2/{repository}/manifests/{digest}"), manifest);
        digest
    }

    /// Stores what is answered under a path.
    pub fn put(&self, path: &str, content: &[u8]) {
        let content = Bytes::copy_from_slice(content);
        self.content().stored.insert(path.to_owned(), content);
    }

    /// How many requests begin so.
    pub fn count(&self, start: &str) -> usize {
        let content = self.content();
        let requests = content.requests.iter();
        requests
            .filter(|request| request.starts_with(start))
            .count()
    }

    /// The document or blob under a path.
    pub fn get(&self, path: &str) -> Bytes {
        self.content().stored[path].clone()
    }

    /// The paths of all documents and blobs.
    pub fn stored(&self) -> Vec<String> {
        self.content().stored.keys().cloned().collect()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refusal {
    /// For all such requests.
    #[must_use]
    pub fn always(
        method: &'static str,
        path: &'static str,
        status: u16,
        body: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            status,
            body,
            retry_after: None,
            times: usize::MAX,
        }
    }

    fn answer(&self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("a status");
        let mut answer = (status, self.body).into_response();
        if let Some(seconds) = self.retry_after {
            let seconds = HeaderValue::from_static(seconds);
            answer.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        answer
    }
}

async fn answer(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let mut content = registry.content();
    content.requests.push(format!("{} {path}", parts.method));
    if let Some(refusal) = &mut content.refuses
        && parts.method == refusal.method
        && path.contains(refusal.path)
        && refusal.times > 0
    {
        refusal.times -= 1;
        return refusal.answer();
    }
    let parameter = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(key, _)| *key == name);
        found
            .next()
            .map(|(_, value)| value.replace("%3A", ":").replace("%2F", "/"))
    };
    match parts.method.as_str() {
        "GET" if path == "/v2/" => StatusCode::OK.into_response(),
        "HEAD" | "GET" => match content.stored.get(&path) {
            None => StatusCode::NOT_FOUND.into_response(),
            Some(found) => {
                let digest = digest(found);
                let kind = media_type(found);
                let headers = [("docker-content-digest", digest), ("content-type", kind)];
                (headers, found.clone()).into_response()
            }
        },
        "POST" => {
            if let (Some(digest), Some(from)) = (parameter("mount"), parameter("from"))
                && let Some(blob) = content
                    .stored
                    .get(&format!("/v2/{from}/blobs/{digest}"))
                    .cloned()
            {
                let target = path.replace("uploads/", &digest);
                content.stored.insert(target.clone(), blob);
                return (StatusCode::CREATED, [("location", target)]).into_response();
            }
            let location = [("location", format!("{path}1"))];
            (StatusCode::ACCEPTED, location).into_response()
        }
        "PUT" => {
            let digest = digest(&body);
            let target = path.replace("uploads/1", &digest);
            content.stored.insert(target.clone(), body.clone());
            if path.contains("/manifests/") {
                let (folder, _) = path.rsplit_once('/').unwrap_or_default();
                content.stored.insert(format!("{folder}/{digest}"), body);
            }
            let headers = [("location", target), ("docker-content-digest", digest)];
            (StatusCode::CREATED, headers).into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

/// As a manifest says of itself.
fn media_type(document: &[u8]) -> String {
    let document: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    let said = document["mediaType"].as_str();
    said.unwrap_or("application/octet-stream").to_owned()
}

fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
