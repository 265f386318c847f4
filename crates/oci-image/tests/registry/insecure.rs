//! Registries that the user trusts as they are: any certificate will do, and none where they have no TLS.

use std::sync::{Arc, Mutex};

use oci_image::registry::{
    Client, Credentials, CredentialsFuture, ErrorKind, Login, Options, RegistryError, Secret,
};
use oci_image::{Descriptor, Manifest, Reference, media_type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::server::{LoginMode, Server, TokenLogin, options};
use crate::tls;

/// The same login for everybody.
struct Key;

impl Credentials for Key {
    fn login<'a>(&'a self, _account: &'a str) -> CredentialsFuture<'a> {
        let login = Login::Password {
            user: "jo".to_owned(),
            password: Secret::new("se:cret"),
        };
        Box::pin(async { Ok(Some(login)) })
    }
}

fn trusting(address: &str) -> Client {
    crate::server::install_provider();
    Client::new(Options {
        insecure: vec![address.to_owned()],
        credentials: Arc::new(Key),
        ..options()
    })
}

async fn ask(server: &Server) -> Result<(), RegistryError> {
    let client = trusting(&server.address.to_string());
    client.manifest(&server.reference("a:1")).await.map(drop)
}

fn wants_password(server: &Server) {
    server.set(|settings| settings.login = LoginMode::Basic("jo".into(), "se:cret".into()));
}

#[tokio::test]
async fn a_certificate_that_nobody_knows_will_do() {
    let server = tls::start(false).await;
    wants_password(&server);
    ask(&server).await.unwrap();
    assert_eq!(
        server.requests(),
        ["GET /v2/", "GET /v2/a/manifests/1", "GET /v2/a/manifests/1"],
        "it was asked once how it speaks"
    );
}

#[tokio::test]
async fn one_without_tls_is_spoken_to_without() {
    let server = Server::start().await;
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    let image = Manifest::image(config, Vec::new()).to_json();
    server.put_manifest(("a", "1"), media_type::MANIFEST, &image);
    wants_password(&server);
    ask(&server).await.unwrap();
    assert_eq!(server.requests().len(), 2, "{:?}", server.requests());
}

#[tokio::test]
async fn where_tls_answered_no_password_goes_without() {
    let server = tls::start(false).await;
    let realm = format!("http://{}/token", server.address);
    let wants = TokenLogin::Password("jo".into(), "se:cret".into());
    server.set(|settings| settings.login = LoginMode::Token { realm, wants });
    let error = ask(&server).await.unwrap_err();
    assert!(error.to_string().contains("without TLS"), "{error}");
}

/// What comes first on each connection to a server whose answer is always the same.
async fn first_bytes(answer: &'static [u8]) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).await.unwrap_or_default();
            hears.lock().unwrap().extend(&bytes[..length.min(1)]);
            stream.write_all(answer).await.ok();
            stream.shutdown().await.ok();
        }
    });
    (address, heard)
}

#[tokio::test]
async fn who_refuses_in_tls_is_not_asked_without() {
    // A fatal alert: handshake_failure.
    let (address, heard) = first_bytes(b"\x15\x03\x03\x00\x02\x02\x28").await;
    let place: Reference = format!("{address}/a:1").parse().unwrap();
    let error = trusting(&address).manifest(&place).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Tls);
    let heard = heard.lock().unwrap();
    // A handshake starts with 0x16.
    assert!(!heard.is_empty() && heard.iter().all(|byte| *byte == 0x16));
}

#[tokio::test]
async fn one_that_was_away_is_asked_for_tls_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = trusting(&address.to_string());
    let place: Reference = format!("{address}/a:1").parse().unwrap();
    let error = client.manifest(&place).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unreachable);
    let server = tls::start_at(address).await;
    client.manifest(&place).await.unwrap();
    assert_eq!(server.requests().len(), 2);
}
