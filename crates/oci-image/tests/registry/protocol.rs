//! What a registry does: tokens, blobs, uploads, manifests, referrers (distribution specification 1.1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Request, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use oci_image::{Descriptor, Digest, Index, Manifest, media_type};

use crate::server::{LoginMode, State, TokenLogin};

/// The answer; of the request's body, the first `most` bytes come.
pub(crate) async fn answer(
    state: &Mutex<State>,
    request: Request<Body>,
    most: Option<usize>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = read(body, most.unwrap_or(usize::MAX)).await;
    let state = &mut *state.lock().unwrap();
    let path = parts.uri.path().to_owned();
    if path == "/token" {
        return token(state, &parts, &body);
    }
    let Some(path) = path.strip_prefix("/v2/") else {
        return refuse(404, "UNSUPPORTED", "no such path");
    };
    if let Some(refusal) = unauthorized(state, &parts, path) {
        return refusal;
    }
    let query = query(parts.uri.query().unwrap_or_default());
    let is_cut = most.is_some();
    if let Some((repository, upload)) = path.split_once("/blobs/uploads/") {
        return match parts.method.as_str() {
            "POST" => start(state, repository, &query),
            _ => upload_step(state, &parts, (repository, upload), (body, is_cut)),
        };
    }
    if let Some((repository, digest)) = path.split_once("/blobs/") {
        return blob(state, &parts, (repository, digest));
    }
    if let Some((repository, version)) = path.split_once("/manifests/") {
        return match parts.method.as_str() {
            "PUT" => put_manifest(state, &parts, (repository, version), body),
            _ => manifest(state, (repository, version)),
        };
    }
    if let Some((repository, digest)) = path.split_once("/referrers/") {
        return referrers(state, (repository, digest), &query);
    }
    refuse(404, "UNSUPPORTED", "no such path")
}

pub(crate) fn respond<'a>(
    status: u16,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body.into()).unwrap()
}

fn refuse(status: u16, code: &str, message: &str) -> Response<Body> {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    respond(status, [("content-type", "application/json")], body)
}

async fn read(body: Body, most: usize) -> Vec<u8> {
    let mut stream = body.into_data_stream();
    let mut found = Vec::new();
    while found.len() < most {
        match stream.next().await {
            Some(Ok(piece)) => found.extend_from_slice(&piece),
            Some(Err(_)) | None => break,
        }
    }
    found.truncate(most);
    found
}

fn query(text: &str) -> BTreeMap<String, Vec<String>> {
    let url: reqwest::Url = format!("x:/?{text}").parse().unwrap();
    let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        query
            .entry(name.into_owned())
            .or_default()
            .push(value.into_owned());
    }
    query
}

fn first<'a>(query: &'a BTreeMap<String, Vec<String>>, name: &str) -> Option<&'a str> {
    Some(query.get(name)?.first()?.as_str())
}

fn authorization(parts: &Parts) -> &str {
    parts
        .headers
        .get("authorization")
        .map_or("", |value| value.to_str().unwrap())
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The refusal where the request has no right to what it wants.
fn unauthorized(state: &State, parts: &Parts, path: &str) -> Option<Response<Body>> {
    let found = authorization(parts);
    match &state.settings.login {
        LoginMode::Open => None,
        LoginMode::Basic(user, password) if found == basic(user, password) => None,
        LoginMode::Basic(..) => {
            let mut refusal = refuse(401, "UNAUTHORIZED", "authentication required");
            let challenge = r#"Basic realm="a, b", charset="UTF-8""#.parse().unwrap();
            refusal.headers_mut().insert("www-authenticate", challenge);
            Some(refusal)
        }
        LoginMode::Token { realm, .. } => {
            let needed = needed_scope(parts, path);
            let token = found.strip_prefix("Bearer ").unwrap_or_default();
            let allowed = state.tokens.get(token);
            if allowed.is_some_and(|allowed| needed.is_subset(allowed)) {
                return None;
            }
            let mut refusal = refuse(401, "UNAUTHORIZED", "authentication required");
            let scope: Vec<String> = needed.into_iter().collect();
            let challenge = format!(
                r#"Bearer realm="{realm}",service="test, registry",scope="{}""#,
                scope.join(" ")
            );
            refusal
                .headers_mut()
                .insert("www-authenticate", challenge.parse().unwrap());
            Some(refusal)
        }
    }
}

fn needed_scope(parts: &Parts, path: &str) -> BTreeSet<String> {
    let middle = ["/blobs/", "/manifests/", "/referrers/"];
    let repository = middle.iter().find_map(|middle| path.split_once(middle));
    let repository = repository.map_or("", |(repository, _)| repository);
    let is_read = matches!(parts.method.as_str(), "GET" | "HEAD") && !path.contains("/uploads/");
    let mut needed = BTreeSet::from([format!("{repository}:pull")]);
    if !is_read {
        needed.insert(format!("{repository}:push"));
    }
    if let Some(from) = first(&query(parts.uri.query().unwrap_or_default()), "from") {
        needed.insert(format!("{from}:pull"));
    }
    // as the challenge names them
    needed
        .into_iter()
        .map(|right| format!("repository:{right}"))
        .collect()
}

fn token(state: &mut State, parts: &Parts, body: &[u8]) -> Response<Body> {
    let LoginMode::Token { wants, .. } = &state.settings.login else {
        return refuse(404, "UNSUPPORTED", "no tokens here");
    };
    let is_form = parts.method == "POST";
    let asked = match is_form {
        true => query(std::str::from_utf8(body).unwrap()),
        false => query(parts.uri.query().unwrap_or_default()),
    };
    let may = match wants {
        TokenLogin::Nothing => !is_form && authorization(parts).is_empty(),
        TokenLogin::Password(user, password) => authorization(parts) == basic(user, password),
        TokenLogin::Refresh(token) => {
            is_form
                && first(&asked, "grant_type") == Some("refresh_token")
                && first(&asked, "refresh_token") == Some(token)
        }
    };
    if !may || first(&asked, "service") != Some("test, registry") {
        let details = r#"{"details":"incorrect username or password"}"#;
        return respond(401, [("content-type", "application/json")], details);
    }
    let scopes = asked.get("scope").cloned().unwrap_or_default();
    let mut allowed = BTreeSet::new();
    for scope in scopes.iter().flat_map(|scopes| scopes.split(' ')) {
        let (repository, rights) = scope.rsplit_once(':').unwrap();
        allowed.extend(
            rights
                .split(',')
                .map(|right| format!("{repository}:{right}")),
        );
    }
    state.next_token += 1;
    let name = format!("token-{}", state.next_token);
    state.tokens.insert(name.clone(), allowed);
    let field = if is_form { "access_token" } else { "token" };
    let body = format!(r#"{{"{field}":"{name}","expires_in":300}}"#);
    respond(200, [("content-type", "application/json")], body)
}

fn blob(state: &State, parts: &Parts, (repository, digest): (&str, &str)) -> Response<Body> {
    let key = (repository.to_owned(), digest.to_owned());
    let Some(content) = state.blobs.get(&key) else {
        return refuse(404, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    let range = parts
        .headers
        .get("range")
        .map(|value| value.to_str().unwrap());
    let start = range.and_then(|range| {
        let start = range.strip_prefix("bytes=")?.strip_suffix('-')?;
        start
            .parse::<usize>()
            .ok()
            .filter(|_| state.settings.has_ranges)
    });
    let (status, rest) = match start {
        Some(start) => (206, content.slice(start..)),
        None => (200, content.clone()),
    };
    let length = rest.len().to_string();
    let content_range = format!(
        "bytes {}-{}/{}",
        start.unwrap_or(0),
        content.len().saturating_sub(1),
        content.len()
    );
    let mut headers = vec![
        ("content-length", length.as_str()),
        ("docker-content-digest", digest),
    ];
    if start.is_some() {
        headers.push(("content-range", content_range.as_str()));
    }
    respond(status, headers, rest)
}

fn start(
    state: &mut State,
    repository: &str,
    query: &BTreeMap<String, Vec<String>>,
) -> Response<Body> {
    if let (Some(digest), Some(from)) = (first(query, "mount"), first(query, "from")) {
        let found = state
            .blobs
            .get(&(from.to_owned(), digest.to_owned()))
            .cloned();
        if let Some(content) = found.filter(|_| state.settings.mounts) {
            let key = (repository.to_owned(), digest.to_owned());
            state.blobs.insert(key, content);
            let location = format!("/v2/{repository}/blobs/{digest}");
            return respond(201, [("location", location.as_str())], "");
        }
    }
    let id = state.next_upload;
    state.next_upload += 1;
    state.uploads.insert(id, Vec::new());
    accepted(state, 202, (repository, id))
}

fn accepted(state: &State, status: u16, (repository, id): (&str, u64)) -> Response<Body> {
    let size = state.uploads[&id].len();
    let path = format!("/v2/{repository}/blobs/uploads/{id}?_state=a%2Fb%3D{size}");
    let location = match state.settings.absolute_locations {
        true => format!("http://{}{path}", state.settings.address),
        false => path,
    };
    let range = format!("0-{}", size.saturating_sub(1));
    let least = state.settings.least_chunk.map(|least| least.to_string());
    let mut headers = vec![("location", location.as_str()), ("range", range.as_str())];
    if let Some(least) = &least {
        headers.push(("oci-chunk-min-length", least));
    }
    respond(status, headers, "")
}

fn upload_step(
    state: &mut State,
    parts: &Parts,
    (repository, id): (&str, &str),
    (body, is_cut): (Vec<u8>, bool),
) -> Response<Body> {
    let id: u64 = id.parse().unwrap();
    let settings = state.settings.clone();
    let Some(upload) = state.uploads.get_mut(&id) else {
        return refuse(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown");
    };
    // What the location said, to the byte.
    let query_text = parts.uri.query().unwrap_or_default();
    let expected = format!("_state=a%2Fb%3D{}", upload.len());
    if parts.method != "GET" && !query_text.starts_with(&expected) {
        return refuse(400, "BLOB_UPLOAD_INVALID", "an old location");
    }
    match parts.method.as_str() {
        "GET" if !settings.tells_status => refuse(404, "UNSUPPORTED", "no status"),
        "GET" => accepted(state, 204, (repository, id)),
        "PATCH" if !settings.takes_chunks => refuse(400, "UNSUPPORTED", "no chunks"),
        "PATCH" => {
            let range = parts.headers["content-range"].to_str().unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
            if start != upload.len() || (!is_cut && end + 1 - start != body.len()) {
                return refuse(416, "BLOB_UPLOAD_INVALID", "out of order");
            }
            upload.extend(body);
            accepted(state, 202, (repository, id))
        }
        "PUT" => {
            upload.extend(body);
            if is_cut {
                return refuse(499, "CUT", "nobody reads this");
            }
            let content = state.uploads.remove(&id).unwrap();
            let digest = Digest::of(&content).to_string();
            if first(&query(query_text), "digest") != Some(&digest) {
                return refuse(400, "DIGEST_INVALID", "provided digest did not match");
            }
            let key = (repository.to_owned(), digest.clone());
            state.blobs.insert(key, content.into());
            respond(201, [("docker-content-digest", digest.as_str())], "")
        }
        _ => refuse(405, "UNSUPPORTED", "no such method"),
    }
}

fn manifest(state: &State, (repository, version): (&str, &str)) -> Response<Body> {
    let key = (repository.to_owned(), version.to_owned());
    let Some((media_type, document)) = state.manifests.get(&key) else {
        return refuse(404, "MANIFEST_UNKNOWN", "manifest unknown");
    };
    let digest = Digest::of(document).to_string();
    let length = document.len().to_string();
    let headers = [
        ("content-type", media_type.as_str()),
        ("content-length", length.as_str()),
        ("docker-content-digest", digest.as_str()),
    ];
    respond(200, headers, document.clone())
}

fn put_manifest(
    state: &mut State,
    parts: &Parts,
    (repository, version): (&str, &str),
    body: Vec<u8>,
) -> Response<Body> {
    let media_type = parts.headers["content-type"].to_str().unwrap().to_owned();
    let digest = Digest::of(&body).to_string();
    let is_index = Descriptor::of(&media_type, b"").is_index();
    let (missing, subject) = if is_index {
        let index: Index = serde_json::from_slice(&body).unwrap();
        let known = |entry: &Descriptor| {
            let key = (repository.to_owned(), entry.digest.to_string());
            state.manifests.contains_key(&key)
        };
        (!index.manifests.iter().all(known), None)
    } else {
        let manifest: Manifest = serde_json::from_slice(&body).unwrap();
        let known = |blob: &Descriptor| {
            let key = (repository.to_owned(), blob.digest.to_string());
            state.blobs.contains_key(&key)
        };
        let all = manifest.layers.iter().all(known) && known(&manifest.config);
        (!all, manifest.subject)
    };
    if missing {
        return refuse(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry");
    }
    for version in [version, &digest] {
        let key = (repository.to_owned(), version.to_owned());
        let value = (media_type.clone(), Bytes::from(body.clone()));
        state.manifests.insert(key, value);
    }
    let subject = subject.filter(|_| state.settings.has_referrers);
    let subject = subject.map(|subject| subject.digest.to_string());
    let mut headers = vec![("docker-content-digest", digest.as_str())];
    if let Some(subject) = &subject {
        headers.push(("oci-subject", subject));
    }
    respond(201, headers, "")
}

fn referrers(
    state: &State,
    (repository, digest): (&str, &str),
    query: &BTreeMap<String, Vec<String>>,
) -> Response<Body> {
    if !state.settings.has_referrers {
        return respond(
            404,
            [("content-type", "text/plain")],
            "404 page not found\n",
        );
    }
    let mut found = BTreeMap::new();
    for ((place, _), (kind, document)) in &state.manifests {
        if place != repository || kind != media_type::MANIFEST {
            continue;
        }
        let manifest: Manifest = serde_json::from_slice(document).unwrap();
        if manifest
            .subject
            .is_some_and(|subject| subject.digest.to_string() == digest)
        {
            let mut entry = Descriptor::of(kind, document);
            entry.artifact_type = manifest.artifact_type;
            entry.annotations = manifest.annotations;
            found.insert(entry.digest, entry);
        }
    }
    let skip: usize = first(query, "skip").map_or(0, |skip| skip.parse().unwrap());
    let size = state.settings.referrers_per_page;
    let next = format!(
        r#"</v2/{repository}/referrers/{digest}?skip={}>; rel="next""#,
        skip + size
    );
    let mut headers = vec![("content-type", media_type::INDEX)];
    if found.len() > skip + size {
        headers.push(("link", next.as_str()));
    }
    let page = found.into_values().skip(skip).take(size).collect();
    respond(200, headers, Index::new(page).to_json())
}
