//! Which blobs belong to an image.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Layout, LayoutError};
use crate::{Descriptor, Digest, Index, Manifest};

/// An index of indexes is legal; nobody needs more of them on each other.
pub(super) const DEPTH: usize = 8;

/// What a document is.
pub(super) enum Document {
    Index(Index),
    Manifest(Box<Manifest>),
}

/// Whether the manifests an index names must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    Refused,
    LeftOut,
}

impl Layout {
    /// All blobs of an image, each after what it refers to: layers and configuration before their manifest. Of an
    /// index those manifests are left out that are not there, for the platforms nobody asked for; but not all.
    pub fn blobs_of(&self, image: &Descriptor) -> Result<Vec<Descriptor>, LayoutError> {
        let mut walk = Walk {
            layout: self,
            seen: BTreeMap::new(),
            order: Vec::new(),
        };
        walk.enter(image, Absent::Refused, 0)?;
        Ok(walk.order)
    }

    /// The same, if every blob is there with its size.
    pub(super) fn complete_blobs_of(
        &self,
        image: &Descriptor,
    ) -> Result<Vec<Descriptor>, LayoutError> {
        let blobs = self.blobs_of(image)?;
        for blob in &blobs {
            self.open_blob(blob)?;
        }
        Ok(blobs)
    }

    /// Reads a manifest or an index; its media type is believed, and where it says neither, its content.
    pub(super) fn document(&self, blob: &Descriptor) -> Result<Document, LayoutError> {
        let content = self.read(blob)?;
        let invalid = |expected| {
            move |source| LayoutError::Document {
                blob: Box::new(blob.clone()),
                expected,
                source,
            }
        };
        if blob.is_index() || (!blob.is_manifest() && looks_like_index(&content)) {
            let index = serde_json::from_slice(&content).map_err(invalid("index"))?;
            return Ok(Document::Index(index));
        }
        let manifest = serde_json::from_slice(&content).map_err(invalid("manifest"))?;
        Ok(Document::Manifest(Box::new(manifest)))
    }
}

struct Walk<'a> {
    layout: &'a Layout,
    seen: BTreeMap<Digest, u64>,
    order: Vec<Descriptor>,
}

impl Walk<'_> {
    fn enter(
        &mut self,
        blob: &Descriptor,
        absent: Absent,
        depth: usize,
    ) -> Result<bool, LayoutError> {
        if depth > DEPTH {
            return Err(LayoutError::Nested(blob.digest));
        }
        if self.seen.contains_key(&blob.digest) {
            return Ok(true);
        }
        let document = match self.layout.document(blob) {
            Err(LayoutError::Missing { .. }) if absent == Absent::LeftOut => return Ok(false),
            other => other?,
        };
        match document {
            Document::Index(index) => self.enter_index(&index, depth)?,
            Document::Manifest(manifest) => {
                for leaf in manifest.layers.iter().chain([&manifest.config]) {
                    self.note(leaf);
                }
            }
        }
        self.note(blob);
        Ok(true)
    }

    fn enter_index(&mut self, index: &Index, depth: usize) -> Result<(), LayoutError> {
        let mut found = false;
        for child in &index.manifests {
            found |= match self.enter(child, Absent::LeftOut, depth + 1) {
                // What an index holds beside images is kept as it is, whatever it refers to.
                Err(LayoutError::Document { .. } | LayoutError::TooLong { .. }) => {
                    self.note(child);
                    true
                }
                entered => entered?,
            };
        }
        match index.manifests.first() {
            Some(first) if !found => Err(LayoutError::Missing {
                blob: Box::new(first.clone()),
                root: self.layout.root.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn note(&mut self, blob: &Descriptor) {
        if self.seen.insert(blob.digest, blob.size).is_none() {
            self.order.push(blob.clone());
        }
    }
}

fn looks_like_index(content: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Shape {
        manifests: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Shape>(content).is_ok_and(|shape| shape.manifests.is_some())
}
