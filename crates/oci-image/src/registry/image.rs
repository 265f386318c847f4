//! Whole images between a layout and a registry.

use std::collections::BTreeMap;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::io::AsyncRead;

use super::client::Client;
use super::error::{ErrorKind, RegistryError};
use super::manifests::{Document, FetchedManifest};
use super::progress::{Meter, Outcome};
use super::source::{BlobSource, OpenFuture};
use crate::{
    Descriptor, Digest, Index, Layout, LayoutError, Manifest, Platform, Reference, select_platform,
};

/// Indexes in indexes in indexes.
const DEPTH: usize = 8;
/// Names the image whose layers are at the bottom (OCI image specification, `annotations.md`).
const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// Why an image did not get from one place to the other.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The registry's side.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The layout's side.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// An image that a registry took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedImage {
    /// Of its manifest, or its index.
    pub descriptor: Descriptor,
    /// Its layers and configurations, and how each came to be there.
    pub blobs: Vec<(Descriptor, Outcome)>,
}

impl Client {
    /// Brings an image, or an index with its images, to where `to` says: layers first, then configurations, then
    /// manifests. Layers that the registry has need not be in the layout.
    pub async fn push_image(
        &self,
        layout: &Layout,
        image: &Descriptor,
        to: &Reference,
    ) -> Result<PushedImage, TransferError> {
        let mut contents = Contents::default();
        contents.enter(layout, image, 0)?;
        for (base, layers) in &contents.bases {
            if base.registry() == to.registry() {
                self.saw(base, layers)?;
            }
        }
        let mut blobs = Vec::new();
        for stage in [contents.layers, contents.configs] {
            let pushes = stage
                .values()
                .map(|blob| self.push_stored(layout, blob, to));
            let outcomes = try_join_all(pushes).await?;
            blobs.extend(stage.into_values().zip(outcomes));
        }
        for absent in contents.absent {
            let place = to.pinned(absent.digest);
            if self.head_manifest(&place).await?.is_none() {
                // Says that it is missing.
                layout.open_blob(&absent)?;
            }
        }
        let mut pushed = image.clone();
        for (manifest, document) in contents.manifests {
            let place = match manifest.digest == image.digest {
                true => to.clone(),
                false => without_version(to),
            };
            let taken = self
                .push_manifest(&place, &manifest.media_type, document)
                .await?;
            pushed = taken.descriptor;
        }
        Ok(PushedImage {
            descriptor: pushed,
            blobs,
        })
    }

    /// Brings the image for `platform` into the layout and returns the descriptor of its manifest. What the layout
    /// has is not fetched.
    pub async fn pull_image(
        &self,
        layout: &Layout,
        from: &Reference,
        platform: &Platform,
    ) -> Result<Descriptor, TransferError> {
        let (found, manifest) = self.find_image(from, platform).await?;
        let mut blobs: BTreeMap<Digest, &Descriptor> = BTreeMap::new();
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            blobs.insert(blob.digest, blob);
        }
        let pulls = blobs
            .values()
            .map(|blob| self.pull_stored(layout, from, blob));
        try_join_all(pulls).await?;
        let descriptor = layout.add(&found.descriptor.media_type, &found.bytes)?;
        let digests: Vec<Digest> = blobs.into_keys().collect();
        self.saw(from, &digests)?;
        Ok(descriptor)
    }

    /// The manifest for the platform, through as many indexes as it takes.
    async fn find_image(
        &self,
        from: &Reference,
        platform: &Platform,
    ) -> Result<(FetchedManifest, Manifest), TransferError> {
        let mut place = from.clone();
        for _ in 0..DEPTH {
            let found = self.manifest(&place).await?;
            let index = match &found.document {
                Document::Image(manifest) => {
                    let manifest = Manifest::clone(manifest);
                    return Ok((found, manifest));
                }
                Document::Index(index) => index,
            };
            let entry = select_platform(index, platform)
                .ok_or_else(|| no_platform(found.descriptor.digest, index, platform))?;
            place = from.pinned(entry.digest);
        }
        let digest = place.digest().unwrap_or_else(|| Digest::of(b""));
        Err(LayoutError::Nested(digest).into())
    }

    async fn push_stored(
        &self,
        layout: &Layout,
        blob: &Descriptor,
        to: &Reference,
    ) -> Result<Outcome, TransferError> {
        let source = Stored {
            layout: layout.clone(),
            blob: blob.clone(),
        };
        match self.push_blob(to, blob, Arc::new(source)).await {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                if matches!(error.kind(), ErrorKind::Local | ErrorKind::Digest { .. }) {
                    check(layout, blob).await?;
                }
                Err(error.into())
            }
        }
    }

    async fn pull_stored(
        &self,
        layout: &Layout,
        from: &Reference,
        blob: &Descriptor,
    ) -> Result<(), TransferError> {
        if layout.has(blob) {
            Meter::new(Arc::clone(&self.observer), blob).ended(Outcome::Existing);
            return Ok(());
        }
        let mut reader = self.pull_blob(from, blob).await?;
        let mut writer = layout.writer()?;
        while let Some(piece) = reader.next().await? {
            writer
                .write_all(&piece)
                .map_err(LayoutError::io("write", &layout.blob_path(&blob.digest)))?;
        }
        let announced = blob.clone();
        blocking(move || writer.commit_expected(&announced))
            .await
            .map_err(LayoutError::io("write", &layout.blob_path(&blob.digest)))??;
        Ok(())
    }
}

/// What an image consists of, by the order in which it is sent.
#[derive(Default)]
struct Contents {
    layers: BTreeMap<Digest, Descriptor>,
    configs: BTreeMap<Digest, Descriptor>,
    /// Images before the indexes they are in.
    manifests: Vec<(Descriptor, Bytes)>,
    /// Images of other platforms that the layout does not have.
    absent: Vec<Descriptor>,
    /// Images that layers may come from.
    bases: Vec<(Reference, Vec<Digest>)>,
}

impl Contents {
    fn enter(&mut self, layout: &Layout, at: &Descriptor, depth: usize) -> Result<(), LayoutError> {
        if depth > DEPTH {
            return Err(LayoutError::Nested(at.digest));
        }
        let document = match layout.read(at) {
            Err(LayoutError::Missing { .. }) if depth > 0 => {
                self.absent.push(at.clone());
                return Ok(());
            }
            document => document?,
        };
        let invalid = |expected| {
            move |source| LayoutError::Document {
                blob: Box::new(at.clone()),
                expected,
                source,
            }
        };
        if at.is_index() {
            let index: Index = serde_json::from_slice(&document).map_err(invalid("index"))?;
            for child in &index.manifests {
                self.enter(layout, child, depth + 1)?;
            }
        } else {
            self.note(serde_json::from_slice(&document).map_err(invalid("manifest"))?);
        }
        if self
            .manifests
            .iter()
            .all(|(known, _)| known.digest != at.digest)
        {
            self.manifests.push((at.clone(), document.into()));
        }
        Ok(())
    }

    fn note(&mut self, manifest: Manifest) {
        let layers = manifest.layers.into_iter().filter(is_distributed);
        let layers: BTreeMap<_, _> = layers.map(|layer| (layer.digest, layer)).collect();
        let base = manifest.annotations.get(BASE_NAME);
        if let Some(base) = base.and_then(|base| base.parse().ok()) {
            self.bases.push((base, layers.keys().copied().collect()));
        }
        self.layers.extend(layers);
        self.configs.insert(manifest.config.digest, manifest.config);
    }
}

/// Layers of some vendors may only be fetched from their own servers.
fn is_distributed(layer: &Descriptor) -> bool {
    !["nondistributable", "foreign"]
        .iter()
        .any(|word| layer.media_type.contains(word))
}

/// A blob of a layout, to be sent.
struct Stored {
    layout: Layout,
    blob: Descriptor,
}

impl BlobSource for Stored {
    fn open(&self, offset: u64) -> OpenFuture<'_> {
        let (layout, blob) = (self.layout.clone(), self.blob.clone());
        Box::pin(async move {
            let open = move || {
                let mut file = layout.open_blob(&blob).map_err(io::Error::other)?;
                file.seek(SeekFrom::Start(offset))?;
                Ok::<_, io::Error>(file)
            };
            let file = blocking(open).await??;
            let reader: Box<dyn AsyncRead + Send + Unpin> =
                Box::new(tokio::fs::File::from_std(file));
            Ok(reader)
        })
    }
}

/// Says what is wrong with a blob of the layout, if it is.
async fn check(layout: &Layout, blob: &Descriptor) -> Result<(), LayoutError> {
    let mut reader = layout.reader(blob)?;
    let read = blocking(move || io::copy(&mut reader, &mut io::sink())).await;
    match read.flatten().map_err(io::Error::downcast::<LayoutError>) {
        Ok(_) => Ok(()),
        Err(Ok(damage)) => Err(damage),
        Err(Err(error)) => Err(LayoutError::io("read", &layout.blob_path(&blob.digest))(
            error,
        )),
    }
}

/// The repository alone: what is written there has no tag.
fn without_version(place: &Reference) -> Reference {
    let name = format!("{}/{}", place.registry(), place.repository());
    name.parse().expect("a part of a reference is one")
}

fn no_platform(digest: Digest, index: &Index, wanted: &Platform) -> LayoutError {
    let platforms = index
        .manifests
        .iter()
        .filter_map(|entry| entry.platform.clone());
    LayoutError::Platform {
        digest,
        wanted: Box::new(wanted.clone()),
        available: platforms
            .filter(|platform| platform.os != "unknown")
            .collect(),
    }
}

/// Work that waits for the disk, off the threads that wait for the network.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, io::Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
}
