//! A small archive of Debian packages on 127.0.0.1, signed with a key of its own.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use jiff::Timestamp;
use oci_image::{Compression, Compressor, Digest};
use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
    SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Password};
use rand::rngs::OsRng;
use tokio::runtime::Runtime;

/// Debian's name of the processor that this test runs on.
pub(crate) const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// A suite `sid` on a server.
pub(crate) struct Archive {
    pub(crate) uri: String,
    files: Arc<Mutex<Files>>,
    key: SignedSecretKey,
    _runtime: Runtime,
}

#[derive(Default)]
struct Files {
    content: BTreeMap<String, Vec<u8>>,
    /// This path is sent half and never ends.
    stalled: Option<String>,
    asked: Vec<String>,
}

impl Archive {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().expect("threads");
        let files = Arc::new(Mutex::new(Files::default()));
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&files));
        let bound = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = bound.expect("a free port");
        let uri = format!("http://{}", listener.local_addr().expect("a port"));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            uri,
            files,
            key: key(),
            _runtime: runtime,
        }
    }

    /// Puts packages with these names and versions, each with one file, in place of all that were there.
    pub(crate) fn publish(&self, packages: &[(&str, &str)]) {
        let mut index = String::new();
        for (name, version) in packages {
            let deb = deb(name, version);
            let path = pool(name, version);
            let (size, digest) = (deb.len(), Digest::of(&deb).hex());
            index += &format!(
                "Package: {name}\nVersion: {version}\nArchitecture: {ARCHITECTURE}\n\
                 Filename: {path}\nSize: {size}\nSHA256: {digest}\n\n"
            );
            self.put(&path, deb);
        }
        let mut packed = Compressor::new(Vec::new(), Compression::Gzip).expect("memory");
        packed.write_all(index.as_bytes()).expect("memory");
        let packed = packed.finish().expect("memory");
        let list = format!("main/binary-{ARCHITECTURE}/Packages.gz");
        let release = format!(
            "Suite: unstable\nCodename: sid\nDate: {}\nArchitectures: {ARCHITECTURE}\nComponents: main\n\
             SHA256:\n {} {} {list}\n",
            Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S UTC"),
            Digest::of(&packed).hex(),
            packed.len(),
        );
        self.put(&format!("dists/sid/{list}"), packed);
        self.put("dists/sid/InRelease", self.sign(&release).into_bytes());
    }

    /// Puts a file below the archive.
    pub(crate) fn put(&self, path: &str, content: Vec<u8>) {
        let path = format!("/debian/{path}");
        self.files().content.insert(path, content);
    }

    /// Sends half of a file and then nothing, until another one is stalled.
    pub(crate) fn stall(&self, path: Option<&str>) {
        self.files().stalled = path.map(|path| format!("/debian/{path}"));
    }

    /// Whether the file was asked for.
    pub(crate) fn was_asked(&self, path: &str) -> bool {
        self.files().asked.contains(&format!("/debian/{path}"))
    }

    /// The public key.
    pub(crate) fn keyring(&self) -> Vec<u8> {
        self.key.to_public_key().to_bytes().expect("a key")
    }

    fn files(&self) -> std::sync::MutexGuard<'_, Files> {
        self.files.lock().expect("nobody panicked")
    }

    fn sign(&self, text: &str) -> String {
        let key = &self.key.secret_subkeys[0].key;
        let kind = SignatureType::Text;
        let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha512);
        let now = SubpacketData::SignatureCreationTime(pgp::types::Timestamp::now());
        let issuer = SubpacketData::IssuerFingerprint(key.fingerprint());
        config.hashed_subpackets = [now, issuer]
            .map(|data| Subpacket::regular(data).expect("it is short"))
            .to_vec();
        let message = CleartextSignedMessage::new(text, config, key, &Password::empty());
        let message = message.expect("a key that signs");
        message
            .to_armored_string(ArmorOptions::default())
            .expect("memory")
    }
}

/// A primary key that certifies, and a subkey that signs, as Debian's are.
fn key() -> SignedSecretKey {
    let subkey = SubkeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_sign(true)
        .build();
    let key = SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .primary_user_id("Archive <archive@example.org>".to_owned())
        .subkey(subkey.expect("a key"))
        .build();
    key.expect("a key").generate(OsRng).expect("a key")
}

/// Where a package lies below the archive.
pub(crate) fn pool(name: &str, version: &str) -> String {
    format!("pool/{name}_{version}.deb")
}

/// A package with a file `/usr/share/NAME/version`.
pub(crate) fn deb(name: &str, version: &str) -> Vec<u8> {
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {ARCHITECTURE}\n\
         Maintainer: nobody\nDescription: a test\n"
    );
    let content = tar(&format!("./usr/share/{name}/version"), version);
    let mut file = b"!<arch>\n".to_vec();
    for (member, content) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", tar("./control", &control)),
        ("data.tar", content),
    ] {
        let length = content.len();
        writeln!(
            file,
            "{member:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`",
            0, 0, 0, "100644"
        )
        .expect("memory");
        file.extend(content);
        if length % 2 == 1 {
            file.push(b'\n');
        }
    }
    file
}

fn tar(path: &str, text: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    archive
        .append_data(&mut header, PathBuf::from(path), text.as_bytes())
        .expect("memory");
    archive.into_inner().expect("memory")
}

async fn answer(State(files): State<Arc<Mutex<Files>>>, uri: Uri) -> Response {
    let path = uri.path().to_owned();
    let mut files = files.lock().expect("nobody panicked");
    files.asked.push(path.clone());
    let Some(content) = files.content.get(&path).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if files.stalled.as_ref() != Some(&path) {
        return content.into_response();
    }
    let half = Bytes::copy_from_slice(&content[..content.len() / 2]);
    let sent = futures_util::stream::once(async { Ok::<_, std::io::Error>(half) });
    let never = futures_util::stream::pending();
    Body::from_stream(sent.chain(never)).into_response()
}
