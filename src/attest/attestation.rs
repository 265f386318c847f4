//! Signed statements: in-toto's in an envelope of DSSE, as `cosign attest` attaches and `cosign verify-attestation`
//! reads them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_image::Manifest;
use serde_json::{Value, json};

use super::Document;
use super::artifact::{Artifact, Blob};
use super::key::{Key, SignError};
use super::provenance::{STATEMENT, statement};
use super::signature;
use super::subject::Subject;

/// The media type of an envelope.
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// By what cosign finds attestations through the referrers API.
const ARTIFACT_TYPE: &str = "application/vnd.dev.cosign.artifact.att.v1+json";

/// Where cosign looks for what a statement states.
const PREDICATE_TYPE: &str = "predicateType";

/// Whether a manifest under the attestations' tag has one of the document's kind, signed by `key`.
#[must_use]
pub fn is_attested(existing: &Manifest, document: &Document, key: &Key) -> bool {
    let fingerprint = key.fingerprint();
    existing.layers.iter().any(|layer| {
        let has = |name: &str, value: &str| {
            layer.annotations.get(name).map(String::as_str) == Some(value)
        };
        has(signature::KEY, &fingerprint) && has(PREDICATE_TYPE, document.predicate_type)
    })
}

/// All `documents` about `subject`, each signed, to be pushed under one tag. Each call gives other bytes, see
/// [`signature`](super::signature()).
pub fn attestations(
    subject: &Subject,
    documents: &[Document],
    key: &Key,
) -> Result<Artifact, SignError> {
    let layers = documents
        .iter()
        .map(|document| layer(subject, document, key))
        .collect::<Result<_, _>>()?;
    Ok(Artifact::of_cosign(
        subject,
        ARTIFACT_TYPE,
        subject.tag("att"),
        layers,
    ))
}

fn layer(subject: &Subject, document: &Document, key: &Key) -> Result<Blob, SignError> {
    let statement = as_statement(subject, document);
    let signature = key.sign(&authenticated(STATEMENT, &statement))?;
    let envelope = json!({
        "payloadType": STATEMENT,
        "payload": STANDARD.encode(&statement),
        "signatures": [{ "keyid": "", "sig": STANDARD.encode(signature) }],
    });
    let mut layer = Blob::new(ENVELOPE, envelope.to_string().into_bytes());
    let annotations = &mut layer.descriptor.annotations;
    // cosign wants it to be there; what counts is in the envelope.
    annotations.insert(signature::ANNOTATION.to_owned(), String::new());
    annotations.insert(
        PREDICATE_TYPE.to_owned(),
        document.predicate_type.to_owned(),
    );
    annotations.insert(signature::KEY.to_owned(), key.fingerprint());
    Ok(layer)
}

fn as_statement(subject: &Subject, document: &Document) -> Vec<u8> {
    if document.media_type == STATEMENT {
        return document.content.clone();
    }
    let predicate: Value = serde_json::from_slice(&document.content).expect("documents are JSON");
    statement(subject, document.predicate_type, &predicate)
}

/// What is signed: DSSE's "pre-authentication encoding" of type and content.
fn authenticated(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::contents::Contents;
    use super::super::key::{test_key, verified};
    use super::super::provenance::provenance;
    use super::super::sbom::sbom;
    use super::super::subject::counter;
    use super::*;

    #[test]
    fn what_is_signed_is_the_example_of_the_specification() {
        assert_eq!(
            authenticated("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn every_document_becomes_a_signed_statement() {
        let subject = counter();
        let documents = [
            sbom(&subject, &Contents::default(), 0),
            provenance().statement(&subject),
        ];
        let artifact = attestations(&subject, &documents, &test_key()).unwrap();
        assert!(artifact.tag.unwrap().ends_with(".att"));
        assert_eq!(artifact.blobs.len(), 3);
        let mut manifest = artifact.manifest.clone();
        assert!(is_attested(&manifest, &documents[1], &test_key()));
        manifest.layers.remove(1);
        assert!(is_attested(&manifest, &documents[0], &test_key()));
        assert!(!is_attested(&manifest, &documents[1], &test_key()));
        for (blob, document) in artifact.blobs[1..].iter().zip(&documents) {
            assert_eq!(
                blob.descriptor.annotations["predicateType"],
                document.predicate_type
            );
            let envelope: Value = serde_json::from_slice(&blob.content).unwrap();
            let decode = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
            let payload = decode(&envelope["payload"]);
            let signed = decode(&envelope["signatures"][0]["sig"]);
            assert!(verified(&authenticated(STATEMENT, &payload), &signed));
            let statement: Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
            assert_eq!(statement["predicateType"], document.predicate_type);
            assert_eq!(
                statement["subject"][0]["digest"]["sha256"],
                subject.manifest.digest.hex()
            );
        }
    }
}
