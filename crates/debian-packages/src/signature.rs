//! Text in a clear-signed OpenPGP envelope: nothing but what is signed comes out.

use pgp::composed::CleartextSignedMessage;
use pgp::packet::{Signature, SignatureType};

use crate::keyring::{Keyring, Moment, holds, is_strong};

/// Clocks may differ that much, in seconds.
const SKEW: u32 = 600;

/// Text of which a trusted key says that it is genuine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedText {
    /// With line ends `\n`.
    pub(crate) text: String,
    /// Of the key that signed, in hexadecimal digits.
    pub(crate) fingerprint: String,
}

/// Why a text is not to be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It is not one clear-signed message and nothing else.
    #[error("it is not a clear-signed OpenPGP message")]
    Envelope(#[source] Box<pgp::errors::Error>),
    /// No bytes but UTF-8 are expected.
    #[error("it is not text")]
    Encoding,
    /// No signature of a key of the keyring fits.
    #[error("it has no valid signature of a trusted key; it is signed by {}", list(.issuers))]
    Untrusted {
        /// Who signed, as the signatures say it themselves: key ids or fingerprints.
        issuers: Vec<String>,
    },
    /// All signatures use a hash that can be forged.
    #[error("its signature uses a hash that is no longer safe ({0})")]
    WeakHash(String),
}

/// How strict the clock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Keys must be valid today.
    Now,
    /// Keys must have been valid when the signature was made: for snapshots.
    WhenSigned,
}

/// The signed text of `message`, once one good signature of a trusted key is found.
/// `now` is in seconds since 1970.
pub(crate) fn verify(
    message: &[u8],
    keyring: &Keyring,
    now: u32,
    expiry: Expiry,
) -> Result<SignedText, SignatureError> {
    let message = std::str::from_utf8(message).map_err(|_| SignatureError::Encoding)?;
    let (message, _) = CleartextSignedMessage::from_string(message)
        .map_err(|error| SignatureError::Envelope(Box::new(error)))?;
    let signed = message.signed_text();
    let candidates: Vec<_> = message
        .signatures()
        .iter()
        .filter(|s| is_on_text(s))
        .collect();
    for signature in candidates.iter().filter(|signature| is_strong(signature)) {
        let made = signature.created().map_or(0, |time| time.as_secs());
        let moment = Moment {
            now: now.saturating_add(SKEW),
            keys_valid_at: match expiry {
                Expiry::Now => now,
                Expiry::WhenSigned => made,
            },
        };
        if !holds(signature, moment) {
            continue;
        }
        if let Some(fingerprint) = keyring.signer(signature, signed.as_bytes(), moment) {
            return Ok(SignedText {
                text: signed.replace("\r\n", "\n"),
                fingerprint,
            });
        }
    }
    Err(refusal(&candidates))
}

/// Signatures on keys have the same form and mean something else.
fn is_on_text(signature: &Signature) -> bool {
    matches!(
        signature.typ(),
        Some(SignatureType::Text | SignatureType::Binary)
    )
}

fn refusal(signatures: &[&Signature]) -> SignatureError {
    if let Some(weak) = signatures.first()
        && !signatures.iter().any(|signature| is_strong(signature))
    {
        let hash = weak
            .hash_alg()
            .map_or_else(String::new, |hash| hash.to_string());
        return SignatureError::WeakHash(hash);
    }
    let issuers = signatures.iter().flat_map(|signature| {
        let fingerprints = signature.issuer_fingerprint();
        match fingerprints.is_empty() {
            false => fingerprints.iter().map(ToString::to_string).collect(),
            true => signature
                .issuer_key_id()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
        }
    });
    SignatureError::Untrusted {
        issuers: issuers.collect(),
    }
}

fn list(issuers: &[String]) -> String {
    match issuers {
        [] => "nobody".to_owned(),
        _ => issuers.join(", "),
    }
}
