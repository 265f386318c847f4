//! The HTTP clients below: whom they trust, what they show, whether they go through a proxy.

use std::io;
use std::path::Path;

use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, Identity};

use super::options::Options;

/// Why the certificates of a host cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificatesError {
    #[error("cannot read `{0}`")]
    Read(String, #[source] io::Error),
    #[error("`{0}` holds no certificate or key in PEM")]
    Parse(String, #[source] reqwest::Error),
    #[error("a certificate among the additional ones is no PEM")]
    Additional(#[source] reqwest::Error),
    #[error("the HTTP client cannot be set up")]
    Build(#[source] reqwest::Error),
}

/// Whom a client is for.
pub(super) struct Peer<'a> {
    /// Where the host has a folder of its own.
    pub(super) certificates: Option<&'a Path>,
    /// This machine: no proxy stands between.
    pub(super) is_loopback: bool,
    /// Any certificate will do.
    pub(super) is_trusted: bool,
}

/// A client that follows no redirect, unpacks nothing, and trusts what the system and browsers trust, and what
/// `options` and the host's folder add.
pub(super) fn http_client(
    options: &Options,
    peer: &Peer<'_>,
) -> Result<reqwest::Client, CertificatesError> {
    let mut roots: Vec<Certificate> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|root| Certificate::from_der(root).ok())
        .collect();
    for bundle in &options.ca_certificates {
        roots.extend(Certificate::from_pem_bundle(bundle).map_err(CertificatesError::Additional)?);
    }
    let mut identity = None;
    if let Some(folder) = peer.certificates {
        roots.extend(authorities(folder)?);
        identity = read_identity(folder)?;
    }
    let mut builder = ClientBuilder::new()
        .tls_certs_merge(roots)
        .redirect(Policy::none())
        .connect_timeout(options.timeouts.connect)
        .user_agent(&options.user_agent)
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd();
    if let Some(identity) = identity {
        builder = builder.identity(identity);
    }
    if peer.is_loopback {
        builder = builder.no_proxy();
    }
    if peer.is_trusted {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    builder.build().map_err(CertificatesError::Build)
}

/// All `*.crt` of the folder.
fn authorities(folder: &Path) -> Result<Vec<Certificate>, CertificatesError> {
    let mut found = Vec::new();
    for path in files(folder, "crt")? {
        let pem = read(&path)?;
        let bundle = Certificate::from_pem_bundle(&pem)
            .map_err(|error| CertificatesError::Parse(path.display().to_string(), error))?;
        found.extend(bundle);
    }
    Ok(found)
}

/// The first `NAME.cert` and its `NAME.key`.
fn read_identity(folder: &Path) -> Result<Option<Identity>, CertificatesError> {
    let Some(path) = files(folder, "cert")?.into_iter().next() else {
        return Ok(None);
    };
    let mut pem = read(&path)?;
    pem.push(b'\n');
    pem.extend(read(&path.with_extension("key"))?);
    let identity = Identity::from_pem(&pem)
        .map_err(|error| CertificatesError::Parse(path.display().to_string(), error))?;
    Ok(Some(identity))
}

fn files(folder: &Path, extension: &str) -> Result<Vec<std::path::PathBuf>, CertificatesError> {
    let failed = |error| CertificatesError::Read(folder.display().to_string(), error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, CertificatesError> {
    std::fs::read(path).map_err(|error| CertificatesError::Read(path.display().to_string(), error))
}
