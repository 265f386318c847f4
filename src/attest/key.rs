//! The key that signs: ECDSA over P-256, as cosign's are, from a PEM file or a variable.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_image::Digest;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};

/// The key cannot be read.
const READ: Code = Code::new("S0460");
/// What was read is no key that signs images.
const UNUSABLE: Code = Code::new("S0461");
/// The key is protected by a password.
const ENCRYPTED: Code = Code::new("S0462");
/// Signing failed.
const SIGN: Code = Code::new("S0463");

/// How to make a key.
const MAKE: &str =
    "make one: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out signing.pem`";

/// Where a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file, as PEM.
    File(PathBuf),
    /// In a variable of the environment, as PEM.
    Variable(String),
}

/// A private key. Shows nothing of itself.
#[derive(Clone)]
pub struct Key {
    inner: Arc<dyn rustls::sign::SigningKey>,
}

/// Why there is no key to sign with. Holds nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("failed to read the signing key {place}")]
    Read {
        /// Where it should be.
        place: KeySource,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The variable is not set, or is no text.
    #[error("the signing key {place} is not set")]
    Unset {
        /// Where it should be.
        place: KeySource,
    },
    /// A password protects it.
    #[error("the signing key {place} is encrypted")]
    Encrypted {
        /// Where it is.
        place: KeySource,
        /// Whether cosign made it.
        by_cosign: bool,
    },
    /// No PEM, no private key, or one of another kind.
    #[error("{place} holds no private key of the kind ECDSA P-256 in PEM")]
    Unusable {
        /// Where it is.
        place: KeySource,
    },
}

/// The system gave no random numbers to sign with.
#[derive(Debug, thiserror::Error)]
#[error("failed to sign")]
pub struct SignError(#[source] rustls::Error);

impl Key {
    /// Reads it.
    pub fn load(place: &KeySource) -> Result<Self, KeyError> {
        let pem = match place {
            KeySource::File(path) => std::fs::read(path).map_err(|source| KeyError::Read {
                place: place.clone(),
                source,
            })?,
            KeySource::Variable(name) => match std::env::var(name) {
                Ok(text) if !text.is_empty() => text.into_bytes(),
                _ => {
                    return Err(KeyError::Unset {
                        place: place.clone(),
                    });
                }
            },
        };
        Self::from_pem(&pem, place)
    }

    /// A key of PKCS #8 or SEC 1; `place` is named in errors.
    pub fn from_pem(pem: &[u8], place: &KeySource) -> Result<Self, KeyError> {
        let text = String::from_utf8_lossy(pem);
        // `Proc-Type` is how OpenSSL encrypted keys of SEC 1.
        if text.contains("-----BEGIN ENCRYPTED ") || text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(KeyError::Encrypted {
                place: place.clone(),
                by_cosign: text.contains("SIGSTORE PRIVATE KEY")
                    || text.contains("COSIGN PRIVATE KEY"),
            });
        }
        let unusable = || KeyError::Unusable {
            place: place.clone(),
        };
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| unusable())?;
        let inner = any_ecdsa_type(&der).map_err(|_| unusable())?;
        let key = Self { inner };
        key.signer().ok_or_else(unusable)?;
        Ok(key)
    }

    /// The public key as PEM, for `cosign verify --key`.
    #[must_use]
    pub fn public_pem(&self) -> String {
        let der = self.inner.public_key().expect("keys of ECDSA have one");
        let encoded = STANDARD.encode(der.as_ref());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in encoded.as_bytes().chunks(64) {
            pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        pem
    }

    /// Tells keys apart: the digest of the public key.
    pub(crate) fn fingerprint(&self) -> String {
        let der = self.inner.public_key().expect("keys of ECDSA have one");
        Digest::of(der.as_ref()).to_string()
    }

    /// The signature (ASN.1) of the SHA-256 of `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signer = self.signer().expect("looked at when the key was read");
        signer.sign(message).map_err(SignError)
    }

    /// `None` for another curve.
    fn signer(&self) -> Option<Box<dyn rustls::sign::Signer>> {
        self.inner
            .choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl FromStr for KeySource {
    type Err = std::convert::Infallible;

    /// `env:VARIABLE`, anything else is a path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix("env:") {
            Some(name) => Self::Variable(name.to_owned()),
            None => Self::File(text.into()),
        })
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Variable(name) => write!(f, "`${name}`"),
        }
    }
}

impl Explain for KeyError {
    fn exit(&self) -> Exit {
        Exit::BadInput
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let error = |code| Diagnostic::error(code, self.to_string());
        vec![match self {
            Self::Read { source, .. } => error(READ).caused_by(source).hint(MAKE),
            Self::Unset { .. } => error(READ).hint("put the key into it, as PEM"),
            Self::Encrypted {
                by_cosign: false, ..
            } => error(ENCRYPTED)
                .hint("decrypt it to where only this build reads it: `openssl pkey -in KEY -out signing.pem`"),
            Self::Encrypted {
                by_cosign: true, ..
            } => error(ENCRYPTED)
                .note("cosign keeps keys in a form of its own, and does not give them out again")
                .hint(MAKE)
                .hint("and give it to cosign, too: `cosign import-key-pair --key signing.pem`"),
            Self::Unusable { .. } => error(UNUSABLE).hint(MAKE),
        }]
    }
}

impl Explain for SignError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![Diagnostic::error(SIGN, self.to_string()).caused_by(&self.0)]
    }
}

#[cfg(test)]
pub(crate) use tests::{test_key, verified};

#[cfg(test)]
mod tests;
