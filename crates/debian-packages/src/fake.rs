//! For tests: an archive on 127.0.0.1 that fails as it is told to, and keys to sign it with.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use jiff::Timestamp;
use oci_image::Digest;
use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
    SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Password};
use rand::rngs::OsRng;

use crate::archive::Fetcher;
use crate::cache::Cache;
use crate::request::Request;
use crate::source::{Mirrors, Source};

/// A throw-away key: a primary one that certifies, and a subkey that signs.
pub(crate) struct Signer {
    pub(crate) key: SignedSecretKey,
}

impl Signer {
    pub(crate) fn new() -> Self {
        let subkey = SubkeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .build()
            .unwrap();
        let key = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .primary_user_id("Archive <archive@example.org>".to_owned())
            .subkey(subkey)
            .build()
            .unwrap()
            .generate(OsRng)
            .unwrap();
        Self { key }
    }

    /// The public key, binary.
    pub(crate) fn public(&self) -> Vec<u8> {
        self.key.to_public_key().to_bytes().unwrap()
    }

    pub(crate) fn sign(&self, text: &str) -> String {
        self.sign_as(text, SignatureType::Text)
    }

    pub(crate) fn sign_as(&self, text: &str, kind: SignatureType) -> String {
        let key = &self.key.secret_subkeys[0].key;
        let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha512);
        let now = SubpacketData::SignatureCreationTime(pgp::types::Timestamp::now());
        let issuer = SubpacketData::IssuerFingerprint(key.fingerprint());
        config.hashed_subpackets = [now, issuer]
            .map(|data| Subpacket::regular(data).unwrap())
            .to_vec();
        let message = CleartextSignedMessage::new(text, config, key, &Password::empty()).unwrap();
        message.to_armored_string(ArmorOptions::default()).unwrap()
    }
}

/// What a server does instead of answering.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Status(u16),
    /// Closes the connection after so many bytes of the answer.
    Cut(usize),
    /// Answers a request for a part with the whole.
    Whole,
    /// Sends something else.
    Other(Vec<u8>),
}

#[derive(Default)]
struct Script {
    files: BTreeMap<String, Vec<u8>>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    /// Path and start of the range, if any.
    log: Vec<(String, Option<usize>)>,
}

/// A server with files.
#[derive(Clone)]
pub(crate) struct Server {
    script: Arc<Mutex<Script>>,
    pub(crate) uri: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { script, uri }
    }

    pub(crate) fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.script
            .lock()
            .unwrap()
            .files
            .insert(path.to_owned(), content.into());
    }

    pub(crate) fn remove(&self, path: &str) {
        let removed = self.script.lock().unwrap().files.remove(path);
        assert!(removed.is_some(), "{path}");
    }

    pub(crate) fn fail(&self, path: &str, faults: &[Fault]) {
        let mut script = self.script.lock().unwrap();
        script
            .faults
            .entry(path.to_owned())
            .or_default()
            .extend(faults.iter().cloned());
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.script.lock().unwrap().files.keys().cloned().collect()
    }

    /// The requests for a path since the last call: where each began.
    pub(crate) fn requests(&self, path: &str) -> Vec<Option<usize>> {
        let mut script = self.script.lock().unwrap();
        let (of_path, rest) = script.log.drain(..).partition(|(logged, _)| logged == path);
        script.log = rest;
        let of_path: Vec<(String, Option<usize>)> = of_path;
        of_path.into_iter().map(|(_, start)| start).collect()
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let path = uri.path().trim_start_matches('/').to_owned();
    let range = headers
        .get("range")
        .map(|range| range.to_str().unwrap().to_owned());
    let start = range.map(|range| {
        range["bytes=".len()..]
            .trim_end_matches('-')
            .parse()
            .unwrap()
    });
    let mut script = script.lock().unwrap();
    script.log.push((path.clone(), start));
    let fault = script.faults.get_mut(&path).and_then(VecDeque::pop_front);
    let Some(content) = script.files.get(&path).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let start = match fault {
        Some(Fault::Whole) => None,
        _ => start,
    };
    let (status, part) = match start {
        None => (StatusCode::OK, content.as_slice()),
        Some(start) if start >= content.len() => {
            return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        }
        Some(start) => (StatusCode::PARTIAL_CONTENT, &content[start..]),
    };
    let body = match fault {
        Some(Fault::Status(status)) => {
            return StatusCode::from_u16(status).unwrap().into_response();
        }
        Some(Fault::Other(other)) => return other.into_response(),
        Some(Fault::Cut(after)) => {
            let sent = Bytes::copy_from_slice(&part[..after.min(part.len())]);
            // What was sent must be on its way before the connection closes.
            let cut = async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                Err(std::io::Error::other("cut"))
            };
            let sent = futures_util::stream::once(async { Ok(sent) });
            Body::from_stream(sent.chain(futures_util::stream::once(cut)))
        }
        _ => Body::from(part.to_vec()),
    };
    let range = format!(
        "bytes {}-{}/{}",
        start.unwrap_or(0),
        content.len().saturating_sub(1),
        content.len()
    );
    Response::builder()
        .status(status)
        .header("content-length", part.len())
        .header("content-range", range)
        .body(body)
        .unwrap()
}

/// A suite with packages, on a server, and a cache that is filled from it.
pub(crate) struct FakeArchive {
    pub(crate) server: Server,
    pub(crate) signer: Signer,
    pub(crate) folder: tempfile::TempDir,
    packages: Vec<(String, Vec<u8>)>,
    pub(crate) date: Timestamp,
    pub(crate) valid_until: Option<Timestamp>,
    pub(crate) suite: &'static str,
}

pub(crate) const INDEX: &str = "main/binary-amd64/Packages.xz";

impl FakeArchive {
    pub(crate) async fn start() -> Self {
        Self {
            server: Server::start().await,
            signer: Signer::new(),
            folder: tempfile::tempdir().unwrap(),
            packages: Vec::new(),
            date: Timestamp::now(),
            valid_until: None,
            suite: "bookworm",
        }
    }

    /// Adds a package; the content is whatever it is.
    pub(crate) fn with(mut self, fields: &str, content: &[u8]) -> Self {
        self.packages.push((fields.to_owned(), content.to_vec()));
        self
    }

    /// Puts everything on the server.
    pub(crate) fn publish(&self) {
        let mut index = String::new();
        for (fields, content) in &self.packages {
            let name = fields
                .lines()
                .next()
                .unwrap()
                .trim_start_matches("Package: ");
            let path = format!("pool/{name}.deb");
            let (size, digest) = (content.len(), Digest::of(content).hex());
            index.push_str(&format!(
                "{fields}\nArchitecture: amd64\nFilename: {path}\nSize: {size}\nSHA256: {digest}\n\n"
            ));
            self.server.put(&path, content.clone());
        }
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(index.as_bytes()).unwrap();
        let index = xz.finish().unwrap();
        self.server.put(
            &format!("dists/bookworm/{}", by_hash(&index)),
            index.clone(),
        );
        self.server
            .put(&format!("dists/bookworm/{INDEX}"), index.clone());
        let release = self.release(&index);
        self.server
            .put("dists/bookworm/InRelease", self.signer.sign(&release));
    }

    pub(crate) fn release(&self, index: &[u8]) -> String {
        let date = |time: Timestamp| time.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string();
        let until = self
            .valid_until
            .map_or_else(String::new, |time| format!("Valid-Until: {}\n", date(time)));
        let (size, digest) = (index.len(), Digest::of(index).hex());
        format!(
            "Suite: {}\nDate: {}\n{until}Acquire-By-Hash: yes\nArchitectures: amd64\nComponents: main\n\
             SHA256:\n {digest} {size} {INDEX}\n",
            self.suite,
            date(self.date),
        )
    }

    pub(crate) fn keyring(&self) -> PathBuf {
        let path = self.folder.path().join("keyring.gpg");
        std::fs::write(&path, self.signer.public()).unwrap();
        path
    }

    pub(crate) fn request(&self, packages: &[&str]) -> Request {
        Request {
            sources: vec![Source {
                keyring: self.keyring(),
                ..Source::new(self.server.uri.clone(), &["bookworm"])
            }],
            architecture: "amd64".to_owned(),
            packages: packages.iter().map(|&name| name.to_owned()).collect(),
            exclude: Default::default(),
            without_dependencies: Default::default(),
        }
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::open(self.folder.path().join("cache")).unwrap()
    }

    pub(crate) fn fetcher(&self) -> Fetcher {
        install_tls();
        Fetcher::with_pause(self.cache(), Mirrors::default(), Duration::from_millis(1)).unwrap()
    }
}

pub(crate) fn by_hash(index: &[u8]) -> String {
    format!(
        "main/binary-amd64/by-hash/SHA256/{}",
        Digest::of(index).hex()
    )
}

/// The HTTP client panics without, also for plain http.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
