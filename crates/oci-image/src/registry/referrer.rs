//! Manifests that refer to an image, as whoever says something about it made them: a signature is an annotation of a
//! layer.

use std::sync::Arc;

use bytes::Bytes;

use super::client::Client;
use super::error::RegistryError;
use crate::{Descriptor, Manifest, Reference, media_type};

impl Client {
    /// Stores `blobs`, then `manifest`, which points at them: under the tag of `place` where it has one. It is listed
    /// among what refers to its subject. Returns the entry of that list.
    pub async fn push_referrer(
        &self,
        place: &Reference,
        manifest: &Manifest,
        blobs: &[(Descriptor, Bytes)],
    ) -> Result<Descriptor, RegistryError> {
        for (blob, content) in blobs {
            self.push_blob(place, blob, Arc::new(content.clone()))
                .await?;
        }
        let document = Bytes::from(manifest.to_json());
        let pushed = self
            .push_manifest(place, media_type::MANIFEST, document)
            .await?;
        let mut entry = pushed.descriptor.clone();
        entry.artifact_type.clone_from(&manifest.artifact_type);
        entry.annotations.clone_from(&manifest.annotations);
        if let Some(subject) = &manifest.subject
            && !pushed.lists_referrers
        {
            self.refer(place, subject.digest, &entry).await?;
        }
        Ok(entry)
    }
}
