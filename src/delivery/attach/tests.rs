//! Documents and signatures in a registry in memory.

use std::time::Duration;

use oci_image::registry::{Options, Retry};
use oci_image::{Index, Platform, media_type};
use serde_json::Value;
use test_support::registry::{Refusal, Registry};

use super::*;
use crate::attest::{Contents, Provenance, sbom, test_key, test_provenance};
use crate::event::Recorder;

const SBOM: &str = "application/spdx+json";
const PROVENANCE: &str = "application/vnd.in-toto+json";
const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const ATTESTATION: &str = "application/vnd.dev.cosign.artifact.att.v1+json";

struct Bench {
    registry: Registry,
    attacher: Attacher,
    subject: Subject,
    events: Recorder,
}

impl Bench {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let registry = Registry::default();
        let address = registry.start().await;
        let retry = Retry {
            times: 1,
            first_delay: Duration::from_millis(1),
            ..Retry::default()
        };
        let client = Client::new(Options {
            retry,
            ..Options::default()
        });
        let reference: Reference = format!("{address}/shop/counter:1").parse().unwrap();
        let manifest = Descriptor::of(media_type::MANIFEST, b"manifest");
        Self {
            subject: Subject::new(&reference, manifest, Platform::linux("amd64")),
            registry,
            attacher: Attacher { client },
            events: Recorder::default(),
        }
    }

    fn provenance(&self) -> Document {
        let provenance: Provenance = test_provenance();
        provenance.statement(&self.subject)
    }

    fn sbom(&self) -> Document {
        sbom(&self.subject, &Contents::default(), 0)
    }

    async fn attach(
        &self,
        documents: Vec<Document>,
        key: Option<&Key>,
        required: bool,
    ) -> Result<Attached, AttachError> {
        let attachment = Attachment {
            service: "counter".parse().unwrap(),
            subject: self.subject.clone(),
            documents,
        };
        let context = AttachContext {
            key,
            origin: &Origin::default(),
            required,
            events: &self.events,
            cancel: &CancellationToken::new(),
        };
        self.attacher.attach(&[attachment], &context).await
    }

    fn document(&self, version: &str) -> Value {
        let path = format!("/v2/shop/counter/manifests/{version}");
        serde_json::from_slice(&self.registry.get(&path)).unwrap()
    }

    fn tag(&self, suffix: &str) -> String {
        format!("sha256-{}{suffix}", self.subject.manifest.digest.hex())
    }

    /// What the list of referrers names, sorted.
    fn listed(&self) -> Vec<String> {
        let list = self.document(&self.tag(""));
        let index: Index = serde_json::from_value(list).unwrap();
        let mut types: Vec<String> = index
            .manifests
            .into_iter()
            .filter_map(|entry| entry.artifact_type)
            .collect();
        types.sort();
        types
    }

    fn warnings(&self) -> Vec<Diagnostic> {
        let events = self.events.events().into_iter();
        events
            .filter_map(|event| match event {
                Event::Warning(warning) => Some(warning),
                _ => None,
            })
            .collect()
    }
}

#[tokio::test]
async fn what_is_attached_is_listed_and_attached_once() {
    let bench = Bench::new().await;
    let key = test_key();
    let both = || vec![bench.provenance(), bench.sbom()];
    let first = bench.attach(both(), Some(&key), true).await.unwrap();
    let all = Attached {
        pushed: 4,
        present: 0,
    };
    assert_eq!(first, all);
    assert_eq!(bench.listed(), [SBOM, ATTESTATION, SIGNATURE, PROVENANCE]);
    let layers = bench.document(&bench.tag(".att"))["layers"].clone();
    assert_eq!(layers.as_array().unwrap().len(), 2, "a statement each");

    let puts = bench.registry.count("PUT");
    let again = bench.attach(both(), Some(&key), true).await.unwrap();
    let none = Attached {
        pushed: 0,
        present: 4,
    };
    assert_eq!(again, none);
    assert_eq!(bench.registry.count("PUT"), puts, "nothing is written");
}

#[tokio::test]
async fn what_is_missing_is_added_to_what_is_there() {
    let bench = Bench::new().await;
    let key = test_key();
    bench
        .attach(vec![bench.provenance()], None, false)
        .await
        .unwrap();
    assert_eq!(bench.listed(), [PROVENANCE]);
    let provenance = || vec![bench.provenance()];
    bench.attach(provenance(), Some(&key), true).await.unwrap();
    let both = vec![bench.provenance(), bench.sbom()];
    let third = bench.attach(both, Some(&key), true).await.unwrap();
    let added = Attached {
        pushed: 2,
        present: 2,
    };
    assert_eq!(third, added, "the SBOM and its signed form");
    let layers = bench.document(&bench.tag(".att"))["layers"].clone();
    let kinds: Vec<&Value> = layers
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| &layer["annotations"]["predicateType"])
        .collect();
    let (slsa, spdx) = (
        "https://slsa.dev/provenance/v1",
        "https://spdx.dev/Document",
    );
    assert_eq!(kinds, [slsa, spdx]);
}

#[tokio::test]
async fn signatures_of_others_stay() {
    let bench = Bench::new().await;
    let theirs = signature(&bench.subject, &test_key()).unwrap();
    let mut manifest = theirs.manifest.clone();
    // As cosign leaves it: no subject, and nothing of the key.
    manifest.subject = None;
    manifest.layers[0].annotations.remove("stackctl.dev/key");
    let place = repository(&bench.subject)
        .with_tag(&bench.tag(".sig"))
        .unwrap();
    let client = &bench.attacher.client;
    let pushed = client
        .push_referrer(&place, &manifest, &theirs.parts())
        .await;
    pushed.unwrap();
    bench
        .attach(Vec::new(), Some(&test_key()), true)
        .await
        .unwrap();
    let found: Manifest = serde_json::from_value(bench.document(&bench.tag(".sig"))).unwrap();
    assert_eq!(found.layers.len(), 2);
    assert_eq!(found.layers[0], manifest.layers[0]);
    let config = bench
        .registry
        .get(&format!("/v2/shop/counter/blobs/{}", found.config.digest));
    let config: Value = serde_json::from_slice(&config).unwrap();
    let layers: Vec<String> = found
        .layers
        .iter()
        .map(|layer| layer.digest.to_string())
        .collect();
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!(layers));
}

#[tokio::test]
async fn a_list_of_images_under_the_signatures_tag_is_not_overwritten() {
    let bench = Bench::new().await;
    let place = repository(&bench.subject)
        .with_tag(&bench.tag(".sig"))
        .unwrap();
    let index = Index::new(Vec::new()).to_json();
    let client = &bench.attacher.client;
    let pushed = client
        .push_manifest(&place, media_type::INDEX, index.clone().into())
        .await;
    pushed.unwrap();
    let error = bench.attach(Vec::new(), Some(&test_key()), true).await;
    let error = error.unwrap_err();
    assert!(matches!(error, AttachError::Occupied { .. }), "{error}");
    let path = format!("/v2/shop/counter/manifests/{}", bench.tag(".sig"));
    assert_eq!(bench.registry.get(&path), index);
}

#[tokio::test]
async fn a_registry_that_takes_no_documents_is_only_a_warning_unless_they_were_asked_for() {
    let bench = Bench::new().await;
    let said = r#"{"errors":[{"code":"MANIFEST_INVALID","message":"no artifacts here"}]}"#;
    bench
        .registry
        .refuse(Refusal::always("PUT", "/manifests/", 400, said));
    let provenance = || vec![bench.provenance()];
    let attached = bench.attach(provenance(), None, false).await.unwrap();
    assert_eq!(attached, Attached::default());
    let [warning] = &bench.warnings()[..] else {
        panic!("one warning");
    };
    assert_eq!(warning.severity, Severity::Warning);
    assert_eq!(warning.message, "no provenance is attached to counter");
    assert!(
        warning.notes.concat().contains("no artifacts here"),
        "{warning:?}"
    );

    let error = bench.attach(provenance(), None, true).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Failed);
    let shown = &error.diagnostics()[0];
    assert_eq!(shown.severity, Severity::Error);
    assert!(
        shown.notes.concat().contains("no artifacts here"),
        "{shown:?}"
    );
}

#[tokio::test]
async fn an_interrupted_attachment_says_so() {
    let bench = Bench::new().await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let context = AttachContext {
        key: None,
        origin: &Origin::default(),
        required: true,
        events: &bench.events,
        cancel: &cancel,
    };
    // No image can have been done before the token is looked at.
    let attachment = Attachment {
        service: "counter".parse().unwrap(),
        subject: bench.subject.clone(),
        documents: vec![bench.sbom()],
    };
    let ended = bench.attacher.attach(&[attachment], &context).await;
    assert_eq!(ended.unwrap_err().exit(), Exit::Interrupted);
}
