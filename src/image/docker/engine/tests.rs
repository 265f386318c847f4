//! Connections to engines: sockets, TLS with good and bad certificates, ssh.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use test_support::docker::FakeDocker;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

fn address(url: String, tls: Option<EngineTls>) -> EngineAddress {
    EngineAddress {
        url,
        origin: "set by DOCKER_HOST".to_owned(),
        tls,
    }
}

async fn refused(address: &EngineAddress) -> Diagnostic {
    let error = Engine::connect_to(address).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Failed);
    error.diagnostics().remove(0)
}

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("crates/test-support/certificates")
        .join(name)
}

/// A folder with `ca.pem` and, of `identity`, `cert.pem` and `key.pem`.
fn folder(authority: &str, identity: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        fs::copy(certificate(from), folder.path().join(to)).unwrap();
    };
    copy(authority, "ca.pem");
    if let Some(name) = identity {
        copy(&format!("{name}.pem"), "cert.pem");
        copy(&format!("{name}-key.pem"), "key.pem");
    }
    folder
}

/// An engine that shows `identity` and wants clients of the test authority, as `dockerd --tlsverify` does.
async fn secured(identity: &str) -> String {
    let chain = CertificateDer::pem_file_iter(certificate(&format!("{identity}.pem")))
        .unwrap()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_file(certificate(&format!("{identity}-key.pem"))).unwrap();
    let mut authorities = RootCertStore::empty();
    authorities
        .add(CertificateDer::from_pem_file(certificate("ca.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider))
            .build()
            .unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    FakeDocker::default().serve(stream).await;
                }
            });
        }
    });
    format!("tcp://127.0.0.1:{port}")
}

async fn plain() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move { FakeDocker::default().serve(stream).await });
        }
    });
    format!("tcp://127.0.0.1:{port}")
}

fn tls(folder: &tempfile::TempDir, verify: bool) -> Option<EngineTls> {
    Some(EngineTls {
        folder: Some(folder.path().to_owned()),
        verify,
    })
}

#[tokio::test]
async fn a_missing_engine_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("unix://{}/docker.sock", folder.path().display());
    let found = refused(&address(url, None)).await;
    assert_eq!(found.code, NO_ENGINE);
    assert!(
        found
            .message
            .starts_with("no Docker engine answers at unix://")
    );
    assert!(found.hints.iter().any(|hint| hint.contains("DOCKER_HOST")));
}

#[tokio::test]
async fn addresses_that_are_none_are_refused() {
    for url in [
        "h:2375",
        "npipe:////./pipe/docker_engine",
        "ssh://-oProxyCommand=x",
    ] {
        let error = Engine::connect_to(&address(url.to_owned(), None)).await;
        assert!(
            matches!(error, Err(EngineError::Unsupported { .. })),
            "{url}"
        );
    }
}

#[tokio::test]
async fn an_engine_over_tcp_answers() {
    let engine = Engine::connect_to(&address(plain().await, None))
        .await
        .unwrap();
    assert_eq!(engine.name().await.unwrap().as_deref(), Some("fake"));
    assert!(!engine.is_local());
}

#[tokio::test]
async fn an_engine_over_tls_answers_with_the_right_certificates() {
    let folder = folder("ca.pem", Some("client"));
    let url = secured("server").await;
    let engine = Engine::connect_to(&address(url, tls(&folder, true)))
        .await
        .unwrap();
    assert_eq!(engine.name().await.unwrap().as_deref(), Some("fake"));

    let unchecked = address(secured("expired").await, tls(&folder, false));
    Engine::connect_to(&unchecked)
        .await
        .expect("DOCKER_TLS alone asks nothing of the engine");
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_explained() {
    let good = folder("ca.pem", Some("client"));
    let anonymous = folder("ca.pem", None);
    let stranger = folder("ca.pem", Some("stranger"));
    let other = folder("other-ca.pem", Some("client"));
    let table = [
        ("server", &anonymous, "a client certificate", "key.pem"),
        (
            "server",
            &stranger,
            "accept our client certificate",
            "--tlscacert",
        ),
        (
            "server",
            &other,
            "the engine's certificate is signed by someone who is not trusted",
            "ca.pem",
        ),
        (
            "expired",
            &good,
            "the engine's certificate has expired",
            "renew",
        ),
        (
            "elsewhere",
            &good,
            "the engine's certificate is for another host name",
            "name",
        ),
    ];
    for (identity, folder, note, hint) in table {
        let found = refused(&address(secured(identity).await, tls(folder, true))).await;
        assert_eq!(found.code, NO_ENGINE);
        // The alert of a refused client may be lost with the connection: then the note says only what is likely.
        assert!(found.notes[0].contains(note), "{found:?}");
        assert!(found.hints[0].contains(hint), "{:?}", found.hints);
    }
}

#[tokio::test]
async fn one_side_with_tls_and_one_without() {
    let folder = folder("ca.pem", Some("client"));
    let found = refused(&address(plain().await, tls(&folder, true))).await;
    assert_eq!(found.notes[0], "the answer is no TLS", "{found:?}");
    assert!(found.hints[0].contains("DOCKER_TLS_VERIFY"));
}

#[tokio::test]
async fn certificates_that_cannot_be_read_are_named() {
    let folder = folder("ca.pem", Some("client"));
    let file = |name: &str| folder.path().join(name);
    let url = "tcp://127.0.0.1:1".to_owned();
    let reason = async || {
        let found = refused(&address(url.clone(), tls(&folder, true))).await;
        assert_eq!(found.code, CERTIFICATES);
        found.notes[0].clone()
    };
    fs::copy(certificate("stranger-key.pem"), file("key.pem")).unwrap();
    let other = reason().await;
    assert!(
        other.contains("key.pem` does not belong to the certificate"),
        "{other}"
    );
    fs::write(file("key.pem"), "no key").unwrap();
    assert!(reason().await.contains("holds no private key"));
    fs::remove_file(file("key.pem")).unwrap();
    assert!(reason().await.contains("has no key.pem beside it"));
    fs::write(file("ca.pem"), "").unwrap();
    assert!(reason().await.contains("ca.pem` holds no certificate"));

    let gone = Some(EngineTls {
        folder: Some(file("gone")),
        verify: true,
    });
    let found = refused(&address(url, gone)).await;
    assert!(found.notes[0].contains("there is no folder"), "{found:?}");
}

#[tokio::test]
async fn the_builder_is_what_the_engine_says() {
    let docker = FakeDocker::default();
    let engine = Engine::from_carrier(docker.carrier(), "unix:///fake");
    assert_eq!(
        engine.builder().await.unwrap(),
        Builder::Classic(Reason::Lacking)
    );
    docker.with_buildkit(&[]);
    assert_eq!(engine.builder().await.unwrap(), Builder::BuildKit);
    let opaque = Engine::from_docker(docker.client(), "unix:///fake");
    assert_eq!(
        opaque.builder().await.unwrap(),
        Builder::Classic(Reason::Lacking)
    );
}
