//! Documents as artifacts of OCI: a manifest that refers to the image, and blobs. Pure.
//!
//! `oras discover` and scanners find them by the referrers API and `artifactType`; cosign by tags.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_image::{Descriptor, Manifest, media_type};
use serde_json::json;

use super::Document;
use super::origin::Origin;
use super::subject::Subject;

/// BuildKit's name for the annotation that says what a statement states.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// Something that is attached to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// To be pushed last.
    pub manifest: Manifest,
    /// What the manifest points at: its configuration, then its layers.
    pub blobs: Vec<Blob>,
    /// The tag in the image's repository under which cosign looks for it; the others have none.
    pub tag: Option<String>,
}

/// Bytes and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// As the manifest names it.
    pub descriptor: Descriptor,
    /// All of it.
    pub content: Bytes,
}

impl Artifact {
    /// `document` about `subject`.
    #[must_use]
    pub fn new(subject: &Subject, document: Document, origin: &Origin) -> Self {
        let mut layer = Blob::new(document.media_type, document.content);
        let says = BTreeMap::from([(
            PREDICATE_TYPE.to_owned(),
            document.predicate_type.to_owned(),
        )]);
        layer.descriptor.annotations.clone_from(&says);
        let config = Blob::new(media_type::EMPTY, b"{}".to_vec());
        let mut artifact = Self::assemble(subject, document.media_type, config, vec![layer]);
        artifact.manifest.annotations = origin.annotations();
        artifact.manifest.annotations.extend(says);
        artifact
    }

    /// One that cosign reads: it takes a signature for an image, so the configuration is that of one, and `cosign
    /// sign` can add a layer of its own.
    pub(crate) fn of_cosign(
        subject: &Subject,
        artifact_type: &str,
        tag: String,
        layers: Vec<Blob>,
    ) -> Self {
        let config = config_of_cosign(layers.iter().map(|layer| &layer.descriptor));
        let mut artifact = Self::assemble(subject, artifact_type, config, layers);
        artifact.tag = Some(tag);
        artifact
    }

    /// The same below the layers that `existing` has under the tag: signatures of others stay. Their content is where
    /// that manifest is.
    #[must_use]
    pub fn added_to(mut self, existing: &Manifest) -> Self {
        self.manifest.layers = [&existing.layers[..], &self.manifest.layers].concat();
        let config = config_of_cosign(self.manifest.layers.iter());
        self.manifest.config = config.descriptor.clone();
        self.blobs[0] = config;
        self
    }

    /// The blobs as the registry client takes them.
    #[must_use]
    pub fn parts(&self) -> Vec<(Descriptor, Bytes)> {
        let parts = self.blobs.iter();
        parts
            .map(|blob| (blob.descriptor.clone(), blob.content.clone()))
            .collect()
    }

    /// The manifest as a list of referrers names it.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        let mut descriptor = Descriptor::of(media_type::MANIFEST, &self.manifest.to_json());
        descriptor
            .artifact_type
            .clone_from(&self.manifest.artifact_type);
        descriptor
            .annotations
            .clone_from(&self.manifest.annotations);
        descriptor
    }

    fn assemble(subject: &Subject, artifact_type: &str, config: Blob, layers: Vec<Blob>) -> Self {
        let described = layers
            .iter()
            .map(|layer| layer.descriptor.clone())
            .collect();
        let mut manifest = Manifest::image(config.descriptor.clone(), described);
        manifest.artifact_type = Some(artifact_type.to_owned());
        manifest.subject = Some(subject.descriptor());
        let mut blobs = vec![config];
        blobs.extend(layers);
        Self {
            manifest,
            blobs,
            tag: None,
        }
    }
}

/// As an image of these layers has it.
fn config_of_cosign<'a>(layers: impl Iterator<Item = &'a Descriptor>) -> Blob {
    let digests: Vec<String> = layers.map(|layer| layer.digest.to_string()).collect();
    let never = "0001-01-01T00:00:00Z";
    let config = json!({
        "architecture": "",
        "config": {},
        "created": never,
        "history": vec![json!({ "created": never }); digests.len()],
        "os": "",
        "rootfs": { "type": "layers", "diff_ids": digests },
    });
    Blob::new(media_type::CONFIG, config.to_string().into_bytes())
}

impl Blob {
    pub(crate) fn new(media_type: &str, content: Vec<u8>) -> Self {
        Self {
            descriptor: Descriptor::of(media_type, &content),
            content: content.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::test_key;
    use super::super::origin::origin;
    use super::super::signature::{is_signed, signature};
    use super::super::subject::counter;
    use super::*;

    #[test]
    fn a_document_refers_to_its_image() {
        let document = Document {
            predicate_type: "https://spdx.dev/Document",
            media_type: "application/spdx+json",
            content: b"abc".to_vec(),
        };
        let artifact = Artifact::new(&counter(), document, &origin());
        let written: serde_json::Value =
            serde_json::from_slice(&artifact.manifest.to_json()).unwrap();
        let expected = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/spdx+json",
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                "size": 2,
            },
            "layers": [{
                "mediaType": "application/spdx+json",
                "digest": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "size": 3,
                "annotations": { "in-toto.io/predicate-type": "https://spdx.dev/Document" },
            }],
            "subject": {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": counter().manifest.digest.to_string(),
                "size": 8,
            },
            "annotations": {
                "in-toto.io/predicate-type": "https://spdx.dev/Document",
                "org.opencontainers.image.created": "2024-05-01T12:00:00Z",
                "org.opencontainers.image.revision": "0123456789abcdef0123456789abcdef01234567",
                "org.opencontainers.image.source": "https://example.com/shop.git",
            },
        });
        assert_eq!(written, expected);
        let contents: Vec<&[u8]> = artifact
            .blobs
            .iter()
            .map(|blob| &blob.content[..])
            .collect();
        assert_eq!(contents, [b"{}".as_slice(), b"abc"]);
        assert_eq!(artifact.tag, None);
        let descriptor = artifact.descriptor();
        assert_eq!(
            descriptor.artifact_type.as_deref(),
            Some("application/spdx+json")
        );
        assert_eq!(
            descriptor.digest,
            oci_image::Digest::of(&artifact.manifest.to_json())
        );
        assert_eq!(descriptor.annotations.len(), 4);
    }

    #[test]
    fn signatures_are_added_above_those_that_are_there() {
        let (subject, key) = (counter(), test_key());
        let mut theirs = signature(&subject, &key).unwrap().manifest;
        theirs.layers[0].annotations.clear();
        assert!(!is_signed(&theirs, &key));
        let added = signature(&subject, &key).unwrap().added_to(&theirs);
        assert!(is_signed(&added.manifest, &key));
        assert_eq!(added.manifest.layers.len(), 2);
        assert_eq!(added.manifest.layers[0], theirs.layers[0]);
        assert_eq!(added.blobs.len(), 2, "theirs is there already");
        assert_eq!(added.blobs[0].descriptor, added.manifest.config);
        let config: serde_json::Value = serde_json::from_slice(&added.blobs[0].content).unwrap();
        for list in [&config["history"], &config["rootfs"]["diff_ids"]] {
            assert_eq!(list.as_array().unwrap().len(), 2);
        }
    }
}
