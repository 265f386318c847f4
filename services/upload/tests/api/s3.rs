//! A small S3 server: keeps objects in memory, lists them in short pages, and
//! fails when it is told to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use service_kit::config;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use upload::{Config, S3Settings};

use crate::support::in_memory;

/// So few that every list has several pages.
const PAGE: usize = 2;
const KEY: &str = "test-key";

/// The server. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Bucket {
    pub(crate) address: SocketAddr,
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    /// Answers to the next requests, instead of the right ones.
    failures: Arc<Mutex<VecDeque<StatusCode>>>,
    /// `PUT folder/ready`, for each request that was signed.
    requests: Arc<Mutex<Vec<String>>>,
    /// Each original takes one to be stored.
    pub(crate) gate: Arc<Semaphore>,
    /// Each medium size takes one, which its worker waits for after the upload was accepted.
    pub(crate) late_gate: Arc<Semaphore>,
    /// How long each object takes to be stored.
    delay: Duration,
}

impl Bucket {
    pub(crate) async fn start() -> Self {
        Self::slow(Duration::ZERO).await
    }

    /// One that takes this long for each object that is stored.
    pub(crate) async fn slow(delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let bucket = Self {
            address: listener.local_addr().unwrap(),
            objects: Arc::default(),
            failures: Arc::default(),
            requests: Arc::default(),
            gate: Arc::new(Semaphore::new(10_000)),
            late_gate: Arc::new(Semaphore::new(10_000)),
            delay,
        };
        let app = Router::new().fallback(answer).with_state(bucket.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        bucket
    }

    /// A configuration for a folder in it.
    pub(crate) fn config(&self) -> Config {
        Config {
            store: Some("s3://bucket/folder".parse().unwrap()),
            s3: self.settings(KEY),
            ..in_memory()
        }
    }

    pub(crate) fn settings(&self, key: &str) -> S3Settings {
        let variables = variables(&format!("http://{}", self.address), key);
        let lookup = |name: &str| {
            let mut all = variables.iter();
            let found = all.find(|(found, _)| *found == name);
            found.map(|(_, value)| OsString::from(value))
        };
        config::read(&lookup, S3Settings::read).unwrap()
    }

    /// The same for a process.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![("STORE_URL", "s3://bucket/folder".to_owned())];
        all.extend(variables(&format!("http://{}", self.address), KEY));
        all
    }

    pub(crate) fn fail_next(&self, failures: &[StatusCode]) {
        self.failures.lock().unwrap().extend(failures);
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    fn list(&self, query: &HashMap<String, String>) -> Response {
        assert_eq!(query["list-type"], "2");
        let prefix = query.get("prefix").map_or("", String::as_str);
        let after = query.get("continuation-token").map_or("", String::as_str);
        let objects = self.objects.lock().unwrap();
        let matching = objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        let mut page: Vec<_> = matching.take(PAGE + 1).collect();
        let is_truncated = page.len() > PAGE;
        page.truncate(PAGE);
        let mut xml = "<ListBucketResult>".to_owned();
        for (key, content) in &page {
            let _ = write!(
                xml,
                "<Contents><Key>{key}</Key><Size>{}</Size><ETag>\"e\"</ETag>\
                 <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>",
                content.len()
            );
        }
        let _ = write!(xml, "<IsTruncated>{is_truncated}</IsTruncated>");
        if let (true, Some((last, _))) = (is_truncated, page.last()) {
            let _ = write!(xml, "<NextContinuationToken>{last}</NextContinuationToken>");
        }
        xml.push_str("</ListBucketResult>");
        xml.into_response()
    }
}

/// What the environment of a program for S3 says.
pub(crate) fn variables(endpoint: &str, key: &str) -> [(&'static str, String); 5] {
    [
        ("AWS_ENDPOINT", endpoint.to_owned()),
        ("AWS_ACCESS_KEY_ID", key.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("AWS_REGION", "eu-test-1".to_owned()),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
    ]
}

async fn answer(
    State(bucket): State<Bucket>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    if !is_signed(request.headers()) {
        let code = "<Error><Code>InvalidAccessKeyId</Code></Error>";
        return (StatusCode::FORBIDDEN, code).into_response();
    }
    let method = request.method().clone();
    let path = request.uri().path().trim_start_matches("/bucket");
    let key = path.trim_start_matches('/').to_owned();
    let called = format!("{method} {key}");
    bucket.requests.lock().unwrap().push(called);
    let failure = bucket.failures.lock().unwrap().pop_front();
    if let Some(status) = failure {
        return (status, "<Error><Code>Scripted</Code></Error>").into_response();
    }
    match method {
        Method::PUT => {
            sleep(bucket.delay).await;
            if key.ends_with("/original") {
                bucket.gate.acquire().await.unwrap().forget();
            }
            if key.ends_with("/medium") {
                bucket.late_gate.acquire().await.unwrap().forget();
            }
            let content = to_bytes(request.into_body(), usize::MAX).await.unwrap();
            bucket.objects.lock().unwrap().insert(key, content);
            [(header::ETAG, "\"e\"")].into_response()
        }
        Method::GET if key.is_empty() => bucket.list(&query),
        Method::GET => match bucket.objects.lock().unwrap().get(&key) {
            Some(content) => whole_or_part(content, request.headers()),
            None => {
                let code = "<Error><Code>NoSuchKey</Code></Error>";
                (StatusCode::NOT_FOUND, code).into_response()
            }
        },
        _ => StatusCode::NOT_IMPLEMENTED.into_response(),
    }
}

fn whole_or_part(content: &Bytes, headers: &HeaderMap) -> Response {
    let modified = "Thu, 01 Jan 2026 00:00:00 GMT";
    let same = [(header::ETAG, "\"e\""), (header::LAST_MODIFIED, modified)];
    let Some(range) = headers.get(header::RANGE) else {
        return (same, content.clone()).into_response();
    };
    let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (first, last) = range.split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let end = content.len().min(last.parse::<usize>().unwrap() + 1);
    let part = format!("bytes {first}-{}/{}", end - 1, content.len());
    let status = StatusCode::PARTIAL_CONTENT;
    let headers = [(header::CONTENT_RANGE, part)];
    (status, same, headers, content.slice(first..end)).into_response()
}

/// By this key, in the way of S3, for the region that was set.
fn is_signed(headers: &HeaderMap) -> bool {
    let signature = headers.get(header::AUTHORIZATION);
    let signature = signature.and_then(|value| value.to_str().ok());
    signature.is_some_and(|text| {
        text.starts_with(&format!("AWS4-HMAC-SHA256 Credential={KEY}/"))
            && text.contains("/eu-test-1/s3/aws4_request")
            && text.contains("Signature=")
    })
}
