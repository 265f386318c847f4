//! Registries with certificates of their own, as Docker's folder of certificates has them.
//!
//! The certificates are made for these tests, by an authority whose key is thrown away; they last until 2126.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use oci_image::registry::{Client, ErrorKind, Options, RegistryError};
use oci_image::{Descriptor, Manifest, media_type};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::server::{Server, install_provider, options};

const AUTHORITY: &[u8] = include_bytes!("certificates/ca.crt");
const SERVER: (&[u8], &[u8]) = (
    include_bytes!("certificates/server.cert"),
    include_bytes!("certificates/server.key"),
);
const CLIENT: (&[u8], &[u8]) = (
    include_bytes!("certificates/client.cert"),
    include_bytes!("certificates/client.key"),
);

pub(crate) async fn start(wants_certificate: bool) -> Server {
    listen("127.0.0.1:0".parse().unwrap(), wants_certificate).await
}

/// One whose address is known before it is there.
pub(crate) async fn start_at(address: SocketAddr) -> Server {
    listen(address, false).await
}

async fn listen(address: SocketAddr, wants_certificate: bool) -> Server {
    install_provider();
    let builder = match wants_certificate {
        false => ServerConfig::builder().with_no_client_auth(),
        true => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(AUTHORITY).unwrap())
                .unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .build()
                .unwrap();
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    let certificate = CertificateDer::from_pem_slice(SERVER.0).unwrap();
    let key = PrivateKeyDer::from_pem_slice(SERVER.1).unwrap();
    let config = builder.with_single_cert(vec![certificate], key).unwrap();
    let server = Server::start_tls(address, TlsAcceptor::from(Arc::new(config))).await;
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    let image = Manifest::image(config, Vec::new()).to_json();
    server.put_manifest(("a", "1"), media_type::MANIFEST, &image);
    server
}

async fn ask(server: &Server, options: Options) -> Result<(), RegistryError> {
    let place = server.reference("a:1");
    Client::new(options).manifest(&place).await.map(drop)
}

/// Options with a folder in which the server has these files.
fn with_files(server: &Server, root: &Path, files: &[(&str, &[u8])]) -> Options {
    let folder = root.join(server.address.to_string());
    std::fs::create_dir(&folder).unwrap();
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
    Options {
        certificates_folder: Some(root.to_owned()),
        ..options()
    }
}

#[tokio::test]
async fn an_authority_in_the_folder_of_the_host_is_trusted() {
    let server = start(false).await;
    let root = tempfile::tempdir().unwrap();
    let options = with_files(&server, root.path(), &[("ca.crt", AUTHORITY)]);
    ask(&server, options).await.unwrap();
}

#[tokio::test]
async fn an_authority_of_the_options_is_trusted() {
    let server = start(false).await;
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        ca_certificates: vec![AUTHORITY.to_vec()],
        ..with_files(&server, root.path(), &[])
    };
    ask(&server, options).await.unwrap();
}

#[tokio::test]
async fn an_authority_that_nobody_knows_is_not() {
    let server = start(false).await;
    let root = tempfile::tempdir().unwrap();
    let options = with_files(&server, root.path(), &[]);
    let error = ask(&server, options).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Tls);
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_certificate_in_the_folder_of_the_host_is_shown() {
    let server = start(true).await;
    let root = tempfile::tempdir().unwrap();
    let files = [
        ("ca.crt", AUTHORITY),
        ("client.cert", CLIENT.0),
        ("client.key", CLIENT.1),
    ];
    let options = with_files(&server, root.path(), &files);
    ask(&server, options).await.unwrap();

    let other = tempfile::tempdir().unwrap();
    let without = with_files(&server, other.path(), &files[..1]);
    ask(&server, without).await.unwrap_err();
    assert_eq!(server.requests().len(), 1);
}
