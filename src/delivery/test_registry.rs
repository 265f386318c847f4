//! A registry in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use oci_image::Digest;

/// As much of a registry as pushes use: blobs and manifests by their paths, mounts, and refusals.
#[derive(Clone, Default)]
pub(super) struct Registry(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    stored: BTreeMap<String, Bytes>,
    requests: Vec<String>,
    /// Method, part of the path, status and body.
    refuses: Option<(&'static str, &'static str, u16, &'static str)>,
}

impl Registry {
    /// Starts it; its address.
    pub(super) async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    pub(super) fn refuse(
        &self,
        method: &'static str,
        path: &'static str,
        status: u16,
        body: &'static str,
    ) {
        self.0.lock().unwrap().refuses = Some((method, path, status, body));
    }

    /// Requests that begin so.
    pub(super) fn count(&self, start: &str) -> usize {
        let content = self.0.lock().unwrap();
        let requests = content.requests.iter();
        requests
            .filter(|request| request.starts_with(start))
            .count()
    }

    /// The document or blob under a path.
    pub(super) fn get(&self, path: &str) -> Bytes {
        self.0.lock().unwrap().stored[path].clone()
    }

    pub(super) fn stored(&self) -> Vec<String> {
        self.0.lock().unwrap().stored.keys().cloned().collect()
    }
}

async fn answer(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let mut content = registry.0.lock().unwrap();
    content.requests.push(format!("{} {path}", parts.method));
    if let Some((method, part, status, body)) = content.refuses
        && parts.method == method
        && path.contains(part)
    {
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
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
                let digest = Digest::of(found).to_string();
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
            let digest = Digest::of(&body).to_string();
            let target = path.replace("uploads/1", &digest);
            content.stored.insert(target.clone(), body.clone());
            if path.contains("/manifests/") {
                let (folder, _) = path.rsplit_once('/').unwrap();
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
