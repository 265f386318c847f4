//! Artifacts that say something about an image: an SBOM, its provenance.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::client::Client;
use super::error::RegistryError;
use crate::{Descriptor, Manifest, Reference, media_type};

/// The content of [`media_type::EMPTY`].
const EMPTY: &[u8] = b"{}";

/// Documents beside an image, to be stored as a manifest of their own.
#[derive(Clone, Debug, Default)]
pub struct Artifact {
    /// What it is: `application/spdx+json`.
    pub artifact_type: String,
    /// Media type and content of the configuration; the empty one where there is none.
    pub config: Option<(String, Bytes)>,
    /// Media types and contents; the empty one where there is none.
    pub layers: Vec<(String, Bytes)>,
    /// Free text by name; shown in lists of referrers too.
    pub annotations: BTreeMap<String, String>,
}

impl Artifact {
    fn config(&self) -> (&str, Bytes) {
        match &self.config {
            Some((media_type, content)) => (media_type, content.clone()),
            None => (media_type::EMPTY, Bytes::from_static(EMPTY)),
        }
    }

    fn layers(&self) -> Vec<(&str, Bytes)> {
        if self.layers.is_empty() {
            return vec![(media_type::EMPTY, Bytes::from_static(EMPTY))];
        }
        let layers = self.layers.iter();
        layers
            .map(|(media_type, content)| (media_type.as_str(), content.clone()))
            .collect()
    }

    /// The manifest, which says what it is about.
    fn manifest(&self, subject: &Descriptor) -> Manifest {
        let describe = |(media_type, content): (&str, Bytes)| Descriptor::of(media_type, &content);
        let mut manifest = Manifest::image(
            describe(self.config()),
            self.layers().into_iter().map(describe).collect(),
        );
        manifest.artifact_type = Some(self.artifact_type.clone());
        manifest.subject = Some(Descriptor::new(
            &subject.media_type,
            subject.digest,
            subject.size,
        ));
        manifest.annotations = self.annotations.clone();
        manifest
    }
}

impl Client {
    /// Stores `artifact` in the repository of `place`, listed among what refers to `subject`. Returns its manifest.
    pub async fn push_artifact(
        &self,
        place: &Reference,
        subject: &Descriptor,
        artifact: &Artifact,
    ) -> Result<Descriptor, RegistryError> {
        let mut contents = artifact.layers();
        contents.push(artifact.config());
        for (media_type, content) in contents {
            let blob = Descriptor::of(media_type, &content);
            self.push_blob(place, &blob, Arc::new(content)).await?;
        }
        let document = Bytes::from(artifact.manifest(subject).to_json());
        let place = without_version(place);
        let pushed = self
            .push_manifest(&place, media_type::MANIFEST, document)
            .await?;
        let mut entry = pushed.descriptor.clone();
        entry.artifact_type = Some(artifact.artifact_type.clone());
        entry.annotations = artifact.annotations.clone();
        if !pushed.lists_referrers {
            self.refer(&place, subject.digest, &entry).await?;
        }
        Ok(entry)
    }
}

/// The repository alone: what is written there has no tag.
pub(super) fn without_version(place: &Reference) -> Reference {
    let name = format!("{}/{}", place.registry(), place.repository());
    name.parse().expect("a part of a reference is one")
}
