//! Where an image lies before it is delivered, opened as an image of a layout either way.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use futures_util::TryStreamExt;
use oci_image::{
    ArchiveError, Descriptor, Layout, LayoutError, Platform, StoredImage, read_docker_archive,
};
use tempfile::TempDir;

use crate::image::background::blocking;
use crate::image::progress::Task;

use super::byte_stream::{Meter, read_by};
use super::deliver::{Delivery, DeliveryContext, Source};
use super::delivery_error::DeliveryError;
use super::moved::Moved;

/// An image whose blobs can be read, for whoever is to run it.
pub(super) struct Opened {
    /// What has its blobs.
    pub layout: Layout,
    /// The image.
    pub image: Arc<StoredImage>,
    /// What came out of an engine lives as long as this.
    _folder: Option<TempDir>,
}

/// All of an image, for whoever keeps it: whatever it runs on.
pub(super) struct Whole {
    /// What has its blobs.
    pub layout: Layout,
    /// Its manifest, or the index of its platforms.
    pub descriptor: Descriptor,
    /// One, or one a platform.
    pub images: Vec<StoredImage>,
    /// What came out of an engine lives as long as this.
    _folder: Option<TempDir>,
}

impl Opened {
    /// Nothing of it was moved yet.
    pub(super) fn whole(&self) -> Moved {
        let layers = self.image.manifest.layers.iter();
        Moved {
            of: layers.map(|layer| layer.size).sum(),
            ..Moved::default()
        }
    }

    /// All of it was moved.
    pub(super) fn all(&self) -> Moved {
        let layers = self.image.manifest.layers.iter();
        layers.fold(self.whole(), |moved, layer| moved.and_layer(layer.size))
    }
}

impl Whole {
    /// The image for a platform; the only one, whatever it is for.
    pub(super) fn for_platform(&self, platform: &Platform) -> Option<&StoredImage> {
        if let [only] = &self.images[..] {
            return Some(only);
        }
        let found = self.layout.image(&self.descriptor, platform).ok()?;
        let digest = found.descriptor.digest;
        let mut images = self.images.iter();
        images.find(|image| image.descriptor.digest == digest)
    }

    /// The layers of all platforms; what they share is there once.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Descriptor> {
        let layers = self.images.iter().flat_map(|image| &image.manifest.layers);
        let distinct: BTreeMap<_, _> = layers.map(|layer| (layer.digest, layer)).collect();
        distinct.into_values()
    }

    /// These of its layers were moved.
    pub(super) fn moved<'a>(&self, layers: impl IntoIterator<Item = &'a Descriptor>) -> Moved {
        let none = Moved {
            of: self.layers().map(|layer| layer.size).sum(),
            ..Moved::default()
        };
        let layers = layers.into_iter();
        layers.fold(none, |moved, layer| moved.and_layer(layer.size))
    }
}

/// Opens an image for the platform of its delivery; one of an engine is taken out of it first.
pub(super) async fn open(
    image: &Delivery,
    context: &DeliveryContext<'_>,
    task: &Task<'_>,
) -> Result<Opened, DeliveryError> {
    let (layout, descriptor) = match &image.source {
        Source::Store { layout, descriptor } => (layout.clone(), descriptor.clone()),
        Source::Engine { reference, .. } => {
            let saved = save(image, reference, context, task).await?;
            return Ok(Opened {
                layout: saved.layout,
                image: Arc::new(saved.image),
                _folder: Some(saved.folder),
            });
        }
    };
    let platform = image.platform.clone();
    let opened = blocking(move || {
        let image = Arc::new(layout.image(&descriptor, &platform)?);
        Ok(Opened {
            layout,
            image,
            _folder: None,
        })
    });
    opened.await.map_err(|source| match source {
        LayoutError::Platform {
            wanted, available, ..
        } => DeliveryError::Platform {
            service: image.service.clone(),
            wanted,
            available,
        },
        source => unreadable(image, source),
    })
}

/// Opens all of an image; one of an engine is taken out of it first.
pub(super) async fn open_whole(
    image: &Delivery,
    context: &DeliveryContext<'_>,
    task: &Task<'_>,
) -> Result<Whole, DeliveryError> {
    let (layout, descriptor) = match &image.source {
        Source::Store { layout, descriptor } => (layout.clone(), descriptor.clone()),
        Source::Engine { reference, .. } => {
            let saved = save(image, reference, context, task).await?;
            return Ok(Whole {
                layout: saved.layout,
                descriptor: saved.image.descriptor.clone(),
                images: vec![saved.image],
                _folder: Some(saved.folder),
            });
        }
    };
    let opened = blocking(move || {
        let images = layout.images(&descriptor)?;
        Ok(Whole {
            layout,
            descriptor,
            images,
            _folder: None,
        })
    });
    opened.await.map_err(|source| unreadable(image, source))
}

fn unreadable(image: &Delivery, source: LayoutError) -> DeliveryError {
    DeliveryError::Store {
        service: image.service.clone(),
        source,
    }
}

/// What was taken out of an engine.
struct Saved {
    layout: Layout,
    image: StoredImage,
    folder: TempDir,
}

async fn save(
    image: &Delivery,
    reference: &str,
    context: &DeliveryContext<'_>,
    task: &Task<'_>,
) -> Result<Saved, DeliveryError> {
    let docker = context.engine()?.docker();
    let failed = |source| DeliveryError::Engine {
        action: format!("save {reference}"),
        source,
    };
    let size = docker.inspect_image(reference).await.map_err(failed)?.size;
    let mut meter = Meter::new(
        task,
        size.and_then(|size| size.try_into().ok()).unwrap_or(0),
    );
    let archive = docker
        .export_image(reference)
        .map_err(io::Error::other)
        .inspect_ok(|chunk| meter.add(chunk.len()));
    read_by(Box::pin(archive), read_saved)
        .await
        .map_err(|source| DeliveryError::Saved {
            service: image.service.clone(),
            source,
        })
}

fn read_saved(reader: &mut dyn Read) -> Result<Saved, ArchiveError> {
    let folder = tempfile::tempdir().map_err(ArchiveError::Read)?;
    let layout = Layout::open(folder.path())?;
    let image = read_docker_archive(reader, &layout)?;
    Ok(Saved {
        layout,
        image,
        folder,
    })
}
