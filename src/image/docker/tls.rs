//! TLS to an engine: what is trusted, what is shown, and what a refusal means.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::errors::Error as DockerError;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

/// The certificates of one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineTls {
    /// Holds `ca.pem` (who is trusted; without it the public authorities), `cert.pem` and `key.pem` (who we are).
    pub folder: Option<PathBuf>,
    /// Whether the engine must prove that it is the one that was named.
    pub verify: bool,
}

/// Why the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The folder is not there.
    #[error("there is no folder `{}` with the engine's certificates", .0.display())]
    NoFolder(PathBuf),
    /// A file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what its name says.
    #[error("`{}` {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Such as `holds no certificate`.
        reason: String,
    },
    /// The address has no host that a certificate could name.
    #[error("`{0}` is no host name")]
    Host(String),
}

/// What a failed handshake means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Explanation {
    pub note: String,
    pub hint: String,
}

/// The settings of a connection; needs no process-wide provider.
pub(super) fn client_config(tls: &EngineTls) -> Result<Arc<ClientConfig>, TlsError> {
    if let Some(folder) = &tls.folder
        && !folder.is_dir()
    {
        return Err(TlsError::NoFolder(folder.clone()));
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3");
    let builder = if tls.verify {
        builder.with_root_certificates(roots(tls.folder.as_deref())?)
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    };
    let mut config = match identity(tls.folder.as_deref())? {
        None => builder.with_no_client_auth(),
        Some((path, chain, key)) => {
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| TlsError::Content {
                    path,
                    reason: format!("does not belong to the certificate in cert.pem: {error}"),
                })?
        }
    };
    // Requests are few, and proxies that want client certificates often cannot resume sessions.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The host of `tcp://host:port`, as a certificate names it.
pub(super) fn server_name(authority: &str) -> Result<ServerName<'static>, TlsError> {
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Host(authority.to_owned()))
}

/// `None` if the error has nothing to do with certificates.
pub(super) fn explain(error: &(dyn Error + 'static), tls: &EngineTls) -> Option<Explanation> {
    let found = |note: &str, hint: String| {
        Some(Explanation {
            note: note.to_owned(),
            hint,
        })
    };
    let file = |name: &str| match &tls.folder {
        Some(folder) => format!("`{}`", folder.join(name).display()),
        None => name.to_owned(),
    };
    let Some(cause) = cause(error) else {
        // With TLS 1.3 the engine looks at our certificate when the request is on its way already: the alert that says
        // what is wrong may be lost with the connection.
        return ended(error).then(|| match &tls.folder {
            Some(folder) if folder.join("cert.pem").exists() => Explanation {
                note: "the engine ended the connection: it may not accept our client certificate".to_owned(),
                hint: not_accepted(&file),
            },
            _ => Explanation {
                note: "the engine ended the connection: it may want a client certificate, and was shown none".to_owned(),
                hint: not_shown(&file),
            },
        });
    };
    match cause {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => found(
                "the engine's certificate is signed by someone who is not trusted",
                format!("{} must be the authority that signed it; `minikube docker-env` and `docker context inspect` name the folder", file("ca.pem")),
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => found(
                "the engine's certificate has expired",
                "renew it on the engine's machine: `minikube stop && minikube start` renews minikube's".to_owned(),
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => found(
                "the engine's certificate is not valid yet",
                "compare the clocks of both machines".to_owned(),
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                found(
                    "the engine's certificate is for another host name",
                    "connect by a name that the certificate has, or sign one for this name".to_owned(),
                )
            }
            other => found(
                &format!("the engine's certificate is not accepted: {other:?}"),
                format!("look at it: `openssl x509 -noout -text -in {}`", file("cert.pem")),
            ),
        },
        rustls::Error::AlertReceived(alert) => explain_alert(*alert, &file),
        rustls::Error::InvalidMessage(_) => found(
            "the answer is no TLS",
            "the engine listens without TLS there: unset DOCKER_TLS_VERIFY and DOCKER_TLS, or use its TLS port, mostly 2376".to_owned(),
        ),
        _ => None,
    }
}

fn explain_alert(alert: AlertDescription, file: &dyn Fn(&str) -> String) -> Option<Explanation> {
    let (note, hint) = match alert {
        AlertDescription::CertificateRequired => (
            "the engine wants a client certificate and was shown none",
            not_shown(file),
        ),
        AlertDescription::CertificateExpired => (
            "the engine says that our client certificate has expired",
            format!("renew {}", file("cert.pem")),
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => (
            "the engine does not accept our client certificate",
            not_accepted(file),
        ),
        _ => return None,
    };
    Some(Explanation {
        note: note.to_owned(),
        hint,
    })
}

fn not_shown(file: &dyn Fn(&str) -> String) -> String {
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    format!("{cert} and {key} are missing: DOCKER_CERT_PATH, else the context, names their folder")
}

fn not_accepted(file: &dyn Fn(&str) -> String) -> String {
    let cert = file("cert.pem");
    format!("{cert} must be signed by the authority that the engine trusts (`dockerd --tlscacert`)")
}

/// Whether the other side closed the connection.
fn ended(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let closed = |error: &io::Error| {
        let kind = error.kind();
        [
            BrokenPipe,
            ConnectionAborted,
            ConnectionReset,
            UnexpectedEof,
        ]
        .contains(&kind)
    };
    let mut next = Some(error);
    while let Some(error) = next {
        let io = match error.downcast_ref::<DockerError>() {
            Some(DockerError::IOError { err }) => Some(err),
            Some(DockerError::HyperResponseError { err })
                if err.is_incomplete_message() || err.is_canceled() || err.is_closed() =>
            {
                return true;
            }
            _ => error.downcast_ref::<io::Error>(),
        };
        if io.is_some_and(closed) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The TLS error somewhere in the chain; an `io::Error` hides what it wraps from `source`, bollard's hides even the
/// `io::Error`.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let io = match error.downcast_ref::<DockerError>() {
            Some(DockerError::IOError { err }) => Some(err),
            _ => error.downcast_ref::<io::Error>(),
        };
        if let Some(inner) = io.and_then(io::Error::get_ref)
            && let Some(found) = cause(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn roots(folder: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let own = folder.map(|folder| folder.join("ca.pem"));
    match own.filter(|path| path.exists()) {
        Some(path) => {
            for certificate in certificates(&path)? {
                store.add(certificate).map_err(|error| TlsError::Content {
                    path: path.clone(),
                    reason: format!("holds no authority: {error}"),
                })?;
            }
        }
        None => {
            let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
            store.add_parsable_certificates(public);
        }
    }
    Ok(store)
}

type Identity = (
    PathBuf,
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
);

/// What the engine may ask for; `None` where there is neither certificate nor key.
fn identity(folder: Option<&Path>) -> Result<Option<Identity>, TlsError> {
    let Some(folder) = folder else {
        return Ok(None);
    };
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    match (cert.exists(), key.exists()) {
        (false, false) => Ok(None),
        (true, false) => Err(TlsError::Content {
            path: cert,
            reason: "has no key.pem beside it".to_owned(),
        }),
        (false, true) => Err(TlsError::Content {
            path: key,
            reason: "has no cert.pem beside it".to_owned(),
        }),
        (true, true) => {
            let chain = certificates(&cert)?;
            let bytes = read(&key)?;
            let private = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| TlsError::Content {
                path: key.clone(),
                reason: "holds no private key that can be read without a password".to_owned(),
            })?;
            Ok(Some((key, chain, private)))
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |reason: &str| TlsError::Content {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|_| content("is damaged"))?;
    if found.is_empty() {
        return Err(content("holds no certificate"));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Takes every certificate, as `DOCKER_TLS` without `DOCKER_TLS_VERIFY` asks for; signatures are still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
