//! Signatures as cosign makes and reads them: over a small document that names the image's digest ("simple signing").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_image::Manifest;
use serde::Serialize;

use super::artifact::{Artifact, Blob};
use super::key::{Key, SignError};
use super::subject::Subject;

/// The media type of the document.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// By what cosign finds a signature through the referrers API.
const ARTIFACT_TYPE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// Where the signature stands.
pub(crate) const ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// Which key made it: only so can two signatures of the same image be told apart without the keys.
pub(crate) const KEY: &str = "stackctl.dev/key";

/// Whether a manifest under the signatures' tag has one by `key`.
#[must_use]
pub fn is_signed(existing: &Manifest, key: &Key) -> bool {
    let fingerprint = key.fingerprint();
    let mut layers = existing.layers.iter();
    layers.any(|layer| layer.annotations.get(KEY) == Some(&fingerprint))
}

/// A signature of `subject`, to be pushed under its tag. Each call gives another one, as ECDSA does: an image that is
/// signed already wants no second one.
pub fn signature(subject: &Subject, key: &Key) -> Result<Artifact, SignError> {
    let payload = payload(subject);
    let signature = STANDARD.encode(key.sign(&payload)?);
    let mut layer = Blob::new(PAYLOAD, payload);
    let annotations = &mut layer.descriptor.annotations;
    annotations.insert(ANNOTATION.to_owned(), signature);
    annotations.insert(KEY.to_owned(), key.fingerprint());
    Ok(Artifact::of_cosign(
        subject,
        ARTIFACT_TYPE,
        subject.tag("sig"),
        vec![layer],
    ))
}

fn payload(subject: &Subject) -> Vec<u8> {
    #[derive(Serialize)]
    struct Payload<'a> {
        critical: Critical<'a>,
        optional: (),
    }
    #[derive(Serialize)]
    struct Critical<'a> {
        identity: Identity<'a>,
        image: Image,
        r#type: &'static str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Identity<'a> {
        docker_reference: &'a str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Image {
        docker_manifest_digest: String,
    }
    let payload = Payload {
        critical: Critical {
            identity: Identity {
                docker_reference: &subject.name,
            },
            image: Image {
                docker_manifest_digest: subject.manifest.digest.to_string(),
            },
            r#type: "cosign container image signature",
        },
        optional: (),
    };
    serde_json::to_vec(&payload).expect("texts")
}

#[cfg(test)]
mod tests {
    use super::super::key::{test_key, verified};
    use super::super::subject::counter;
    use super::*;

    #[test]
    fn the_signed_document_is_cosigns() {
        let digest = counter().manifest.digest;
        let expected = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"registry.example.com/shop/counter"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        assert_eq!(String::from_utf8(payload(&counter())).unwrap(), expected);
    }

    #[test]
    fn a_signature_is_found_by_tag_and_by_reference_and_holds() {
        let subject = counter();
        let artifact = signature(&subject, &test_key()).unwrap();
        let hex = subject.manifest.digest.hex();
        assert_eq!(artifact.tag.unwrap(), format!("sha256-{hex}.sig"));
        assert_eq!(
            artifact.manifest.artifact_type.as_deref(),
            Some(ARTIFACT_TYPE)
        );
        assert_eq!(
            artifact.manifest.subject.unwrap().digest,
            subject.manifest.digest
        );
        let [config, layer] = artifact.blobs.as_slice() else {
            panic!("a configuration and a layer");
        };
        let config: serde_json::Value = serde_json::from_slice(&config.content).unwrap();
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            layer.descriptor.digest.to_string()
        );
        assert_eq!(layer.descriptor, artifact.manifest.layers[0]);
        assert_eq!(layer.descriptor.media_type, PAYLOAD);
        let signed = STANDARD
            .decode(&layer.descriptor.annotations[ANNOTATION])
            .unwrap();
        assert!(verified(&layer.content, &signed));
        assert!(!verified(b"{}", &signed));
    }
}
