//! The keys that a distribution signs with, and which of them may have signed something.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, Tag};

/// OpenPGP certificates that are trusted for a source.
#[derive(Debug)]
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// Nothing is there.
    #[error(
        "the keyring {path} is not there: install the package `debian-archive-keyring`, \
         or name the file (or folder) that holds the keys of the archive"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("failed to read the keyring {path}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The content is no OpenPGP certificate.
    #[error("{path} holds no OpenPGP public keys")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says; nothing where the file is just empty.
        #[source]
        source: Option<Box<pgp::errors::Error>>,
    },
}

/// When something was signed and when it is looked at, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The keys must not have expired by then.
    pub(crate) keys_valid_at: u32,
    /// Signatures of later than that are not believed.
    pub(crate) now: u32,
}

impl Keyring {
    /// Reads a file, or all `.gpg`, `.pgp` and `.asc` files of a folder.
    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        let read = |source| KeyringError::Read {
            path: path.to_owned(),
            source,
        };
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyringError::Missing {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(read(error)),
        };
        if !metadata.is_dir() {
            return Ok(Self {
                certificates: load_file(path)?,
            });
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(read)? {
            let file = entry.map_err(read)?.path();
            let extension = file.extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("gpg" | "pgp" | "asc")) {
                files.push(file);
            }
        }
        files.sort();
        let mut certificates = Vec::new();
        for file in &files {
            certificates.extend(load_file(file)?);
        }
        if certificates.is_empty() {
            return Err(KeyringError::Missing {
                path: path.to_owned(),
            });
        }
        Ok(Self { certificates })
    }

    /// The fingerprint of the key that made `signature` over `data`, where it may:
    /// of a certificate that is neither revoked nor expired, and bound to it for signing.
    pub(crate) fn signer(
        &self,
        signature: &Signature,
        data: &[u8],
        moment: Moment,
    ) -> Option<String> {
        self.certificates.iter().find_map(|certificate| {
            // Cheap first: most keys of a keyring did not make the signature.
            let primary = signature.verify(&certificate.primary_key, data).is_ok();
            if primary && signs_itself(certificate, moment) && primary_is_valid(certificate, moment)
            {
                return Some(certificate.fingerprint().to_string());
            }
            let mut subkeys = certificate.public_subkeys.iter();
            let subkey = subkeys.find(|subkey| signature.verify(&subkey.key, data).is_ok())?;
            let valid = primary_is_valid(certificate, moment)
                && subkey_is_valid(certificate, subkey, moment);
            valid.then(|| subkey.fingerprint().to_string())
        })
    }
}

/// Whether a hash is still good enough for signatures: not MD5, SHA-1 or RIPEMD-160.
pub(crate) fn is_strong(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    )
}

/// Made in the past, not expired, and without demands that are not understood.
pub(crate) fn holds(signature: &Signature, moment: Moment) -> bool {
    let Some(created) = signature.created().map(|time| time.as_secs()) else {
        return false;
    };
    let expires = signature
        .signature_expiration_time()
        .map(|time| time.as_secs());
    let understood = signature.config().is_some_and(|config| {
        config.hashed_subpackets().all(|subpacket| {
            let unknown = matches!(
                subpacket.data,
                SubpacketData::Other(..)
                    | SubpacketData::Experimental(..)
                    | SubpacketData::Notation(_)
            );
            !(subpacket.is_critical && unknown)
        })
    });
    understood && created <= moment.now && !is_over(created, expires, moment.keys_valid_at)
}

fn load_file(path: &Path) -> Result<Vec<SignedPublicKey>, KeyringError> {
    let bytes = fs::read(path).map_err(|source| KeyringError::Read {
        path: path.to_owned(),
        source,
    })?;
    let parse = |source: Option<pgp::errors::Error>| KeyringError::Parse {
        path: path.to_owned(),
        source: source.map(Box::new),
    };
    let (keys, _) =
        SignedPublicKey::from_reader_many(bytes.as_slice()).map_err(|error| parse(Some(error)))?;
    let mut certificates = Vec::new();
    let mut last_error = None;
    for key in keys {
        // A keyring may hold keys of a kind that is not known here, beside those that are.
        match key {
            Ok(key) => certificates.push(key),
            Err(error) => last_error = Some(error),
        }
    }
    if certificates.is_empty() {
        return Err(parse(last_error));
    }
    Ok(certificates)
}

/// `lifetime` in seconds after `start`; 0 and none mean for ever.
fn is_over(start: u32, lifetime: Option<u32>, now: u32) -> bool {
    lifetime.is_some_and(|lifetime| lifetime != 0 && start.saturating_add(lifetime) <= now)
}

/// What the owner says about the key itself, newest last: in direct signatures and on user ids.
fn self_signatures(certificate: &SignedPublicKey) -> Vec<&Signature> {
    let key = &certificate.primary_key;
    let direct = certificate
        .details
        .direct_signatures
        .iter()
        .filter(|signature| is_strong(signature) && signature.verify_key(key).is_ok());
    let users = certificate.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|signature| {
            signature.is_certification()
                && is_strong(signature)
                && signature
                    .verify_certification(key, Tag::UserId, &user.id)
                    .is_ok()
        })
    });
    let mut all: Vec<_> = direct.chain(users).collect();
    all.sort_by_key(|signature| signature.created());
    all
}

fn primary_is_valid(certificate: &SignedPublicKey, moment: Moment) -> bool {
    let key = &certificate.primary_key;
    // A revocation counts whenever it was made, and with whatever hash.
    let revoked = certificate
        .details
        .revocation_signatures
        .iter()
        .any(|signature| signature.verify_key(key).is_ok());
    if revoked {
        return false;
    }
    let newest = self_signatures(certificate)
        .into_iter()
        .rfind(|signature| holds(signature, moment));
    newest.is_some_and(|signature| key_lives(key.created_at().as_secs(), signature, moment))
}

fn signs_itself(certificate: &SignedPublicKey, moment: Moment) -> bool {
    self_signatures(certificate)
        .into_iter()
        .rfind(|signature| holds(signature, moment))
        .is_some_and(|signature| signature.key_flags().sign())
}

fn subkey_is_valid(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    moment: Moment,
) -> bool {
    let primary = &certificate.primary_key;
    let bound = |signature: &&Signature| {
        signature
            .verify_subkey_binding(primary, &subkey.key)
            .is_ok()
    };
    let of_type = |kind: SignatureType| {
        let signatures = subkey.signatures.iter();
        signatures.filter(move |signature| signature.typ() == Some(kind))
    };
    if of_type(SignatureType::SubkeyRevocation).any(|signature| bound(&signature)) {
        return false;
    }
    let newest = of_type(SignatureType::SubkeyBinding)
        .filter(|signature| is_strong(signature) && holds(signature, moment))
        .filter(bound)
        .max_by_key(|signature| signature.created());
    newest.is_some_and(|signature| {
        // The subkey must agree, or someone else's key could be claimed as one's own.
        let agreed = signature.embedded_signature().is_some_and(|back| {
            is_strong(back)
                && back
                    .verify_primary_key_binding(&subkey.key, primary)
                    .is_ok()
        });
        let created = subkey.key.created_at().as_secs();
        signature.key_flags().sign() && agreed && key_lives(created, signature, moment)
    })
}

fn key_lives(created: u32, signature: &Signature, moment: Moment) -> bool {
    let lifetime = signature.key_expiration_time().map(|time| time.as_secs());
    created <= moment.now && !is_over(created, lifetime, moment.keys_valid_at)
}

#[cfg(test)]
mod tests;
