//! A registry in memory, on a port of its own, with faults by script. What it keeps and what it saw can be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use oci_image::registry::{Client, Observer, Options, Retry, Timeouts, Transfer};
use oci_image::{Descriptor, Digest, Reference};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::protocol;

/// A running registry; ends with its value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: AbortHandle,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) blobs: BTreeMap<(String, String), Bytes>,
    /// By repository and tag or digest: media type and document.
    pub(crate) manifests: BTreeMap<(String, String), (String, Bytes)>,
    pub(crate) uploads: BTreeMap<u64, Vec<u8>>,
    pub(crate) next_upload: u64,
    /// Tokens that are valid, and what for.
    pub(crate) tokens: BTreeMap<String, BTreeSet<String>>,
    pub(crate) next_token: u64,
    pub(crate) seen: Vec<Seen>,
    faults: Vec<Script>,
}

/// How the registry behaves.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) address: String,
    pub(crate) login: LoginMode,
    pub(crate) least_chunk: Option<usize>,
    pub(crate) takes_chunks: bool,
    pub(crate) tells_status: bool,
    pub(crate) has_ranges: bool,
    pub(crate) has_referrers: bool,
    pub(crate) referrers_per_page: usize,
    pub(crate) mounts: bool,
    pub(crate) absolute_locations: bool,
}

/// How the registry wants to be logged in to.
#[derive(Clone)]
pub(crate) enum LoginMode {
    Open,
    /// Name and password.
    Basic(String, String),
    /// The token server, and what it wants itself.
    Token {
        realm: String,
        wants: TokenLogin,
    },
}

#[derive(Clone)]
pub(crate) enum TokenLogin {
    Nothing,
    Password(String, String),
    Refresh(String),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What goes wrong with a request.
#[derive(Clone)]
pub(crate) enum Fault {
    /// An answer instead of the right one: status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The right answer with another header.
    Header(&'static str, String),
    /// The connection ends after that many bytes of the request's body, which are kept.
    CutUpload(usize),
    /// The connection ends after the request was done, without an answer.
    CutAnswer,
    /// The connection ends after that many bytes of the answer's body.
    CutDownload(usize),
    /// The answer's body is this, and nothing tells its length.
    Body(Bytes),
    /// No answer at all.
    Silence,
}

struct Script {
    method: &'static str,
    path: String,
    times: usize,
    fault: Fault,
}

/// Marks an answer that is not to be sent: the connection ends.
#[derive(Clone)]
pub(crate) struct Cut;

impl Server {
    pub(crate) async fn start() -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), None).await
    }

    pub(crate) async fn start_tls(address: SocketAddr, tls: TlsAcceptor) -> Self {
        Self::listen(address, Some(tls)).await
    }

    async fn listen(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        install_provider();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut state = State::default();
        state.settings.address = address.to_string();
        let state = Arc::new(Mutex::new(state));
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&state))).abort_handle();
        Self {
            address,
            state,
            accepting,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    /// The next `times` requests of that method whose path contains `path` go wrong.
    pub(crate) fn fault(&self, method: &'static str, path: &str, times: usize, fault: Fault) {
        self.state().faults.push(Script {
            method,
            path: path.to_owned(),
            times,
            fault,
        });
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state().settings);
    }

    pub(crate) fn put_blob(&self, repository: &str, content: &[u8]) -> Descriptor {
        let blob = Descriptor::of("application/octet-stream", content);
        let key = (repository.to_owned(), blob.digest.to_string());
        self.state()
            .blobs
            .insert(key, Bytes::copy_from_slice(content));
        blob
    }

    pub(crate) fn put_manifest(
        &self,
        name: (&str, &str),
        media_type: &str,
        document: &[u8],
    ) -> Digest {
        let digest = Digest::of(document);
        let value = (media_type.to_owned(), Bytes::copy_from_slice(document));
        let mut state = self.state();
        for version in [name.1.to_owned(), digest.to_string()] {
            state
                .manifests
                .insert((name.0.to_owned(), version), value.clone());
        }
        digest
    }

    pub(crate) fn blob(&self, repository: &str, digest: Digest) -> Option<Bytes> {
        let key = (repository.to_owned(), digest.to_string());
        self.state().blobs.get(&key).cloned()
    }

    pub(crate) fn manifest(&self, repository: &str, version: &str) -> Option<Bytes> {
        let key = (repository.to_owned(), version.to_owned());
        self.state()
            .manifests
            .get(&key)
            .map(|(_, document)| document.clone())
    }

    /// `METHOD path` of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        let state = self.state();
        let line = |seen: &Seen| format!("{} {}", seen.method, seen.path);
        state.seen.iter().map(line).collect()
    }

    /// The requests of that method whose path contains `path`.
    pub(crate) fn seen(&self, method: &str, path: &str) -> Vec<Seen> {
        let state = self.state();
        let fits = |seen: &&Seen| seen.method == method && seen.path.contains(path);
        state.seen.iter().filter(fits).cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: String::new(),
            login: LoginMode::Open,
            least_chunk: None,
            takes_chunks: true,
            tells_status: true,
            has_ranges: true,
            has_referrers: true,
            referrers_per_page: 100,
            mounts: true,
            absolute_locations: true,
        }
    }
}

/// Options that lose no time.
pub(crate) fn options() -> Options {
    Options {
        certificates_folder: None,
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(5),
        },
        retry: Retry {
            times: 4,
            first_delay: Duration::from_millis(2),
            longest_delay: Duration::from_millis(10),
            longest_retry_after: Duration::from_secs(2),
            total: Duration::from_secs(20),
        },
        chunk_size: 1000,
        ..Options::default()
    }
}

pub(crate) fn client() -> Client {
    install_provider();
    Client::new(options())
}

pub(crate) fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .unwrap();
    });
}

/// `size` bytes that are not all alike.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0_u32..)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .take(size)
        .collect()
}

/// Remembers all that it was told.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<Transfer>>);

impl Heard {
    pub(crate) fn all(&self) -> Vec<Transfer> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Heard {
    fn progress(&self, transfer: Transfer) {
        self.0.lock().unwrap().push(transfer);
    }
}

/// Connections end with this task.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            match tls {
                None => serve(stream, state).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, state).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    state: Arc<Mutex<State>>,
) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let state = Arc::clone(&state);
        async move {
            let response = answer(&state, request.map(Body::new)).await;
            match response.extensions().get::<Cut>() {
                Some(Cut) => Err(io::Error::other("cut by script")),
                None => Ok(response),
            }
        }
    });
    // Clients leave, and scripts cut: neither is an error of the test.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(state: &Mutex<State>, request: Request<Body>) -> Response<Body> {
    let fault = {
        let mut state = state.lock().unwrap();
        state.seen.push(Seen {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: request.headers().clone(),
        });
        let script = state.faults.iter_mut().find(|script| {
            script.times > 0
                && request.method() == script.method
                && request.uri().path().contains(&script.path)
        });
        script.map(|script| {
            script.times -= 1;
            script.fault.clone()
        })
    };
    match fault {
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Answer(status, headers, body)) => {
            let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
            let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
            protocol::respond(status, headers, body)
        }
        Some(Fault::CutUpload(bytes)) => {
            protocol::answer(state, request, Some(bytes)).await;
            cut()
        }
        Some(Fault::CutAnswer) => {
            protocol::answer(state, request, None).await;
            cut()
        }
        Some(Fault::Header(name, value)) => {
            let mut response = protocol::answer(state, request, None).await;
            response.headers_mut().insert(name, value.parse().unwrap());
            response
        }
        Some(Fault::CutDownload(bytes)) => {
            let response = protocol::answer(state, request, None).await;
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let start = body.slice(..bytes.min(body.len()));
            let length = body.len();
            let end = futures_util::stream::once(async {
                // what came before is on its way by then
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(io::Error::other("cut by script"))
            });
            let start = futures_util::stream::iter([Ok(start)]);
            let body = Body::from_stream(start.chain(end));
            let mut response = Response::from_parts(parts, body);
            response
                .headers_mut()
                .insert("content-length", length.into());
            response
        }
        Some(Fault::Body(bytes)) => {
            let response = protocol::answer(state, request, None).await;
            let (mut parts, _) = response.into_parts();
            parts.headers.remove("content-length");
            let pieces = [Ok::<_, Infallible>(bytes)];
            Response::from_parts(parts, Body::from_stream(futures_util::stream::iter(pieces)))
        }
        None => protocol::answer(state, request, None).await,
    }
}

fn cut() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Cut);
    response
}
