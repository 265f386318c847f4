//! Where an image lies before it is delivered, opened as an image of a layout either way.

use std::io::{self, Read};
use std::sync::Arc;

use futures_util::TryStreamExt;
use oci_image::{ArchiveError, Layout, StoredImage, read_docker_archive};
use tempfile::TempDir;

use crate::image::progress::Task;

use super::byte_stream::{Meter, read_by};
use super::deliver::{Delivery, DeliveryContext, Source};
use super::delivery_error::DeliveryError;
use super::moved::Moved;

/// An image whose blobs can be read.
pub(super) struct Opened {
    /// What has its blobs.
    pub layout: Layout,
    /// The image.
    pub image: Arc<StoredImage>,
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

/// Opens an image; one of an engine is taken out of it first.
pub(super) async fn open(
    image: &Delivery,
    context: &DeliveryContext<'_>,
    task: &Task<'_>,
) -> Result<Opened, DeliveryError> {
    match &image.source {
        Source::Store { layout, descriptor } => {
            let (layout, descriptor) = (layout.clone(), descriptor.clone());
            let platform = image.platform.clone();
            let opened = blocking(move || {
                let image = layout.image(&descriptor, &platform)?;
                Ok(Opened {
                    layout,
                    image: Arc::new(image),
                    _folder: None,
                })
            });
            opened.await.map_err(|source| DeliveryError::Store {
                service: image.service.clone(),
                source,
            })
        }
        Source::Engine { reference, .. } => save(image, reference, context, task).await,
    }
}

async fn save(
    image: &Delivery,
    reference: &str,
    context: &DeliveryContext<'_>,
    task: &Task<'_>,
) -> Result<Opened, DeliveryError> {
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

fn read_saved(reader: &mut dyn Read) -> Result<Opened, ArchiveError> {
    let folder = tempfile::tempdir().map_err(ArchiveError::Read)?;
    let layout = Layout::open(folder.path())?;
    let image = read_docker_archive(reader, &layout)?;
    Ok(Opened {
        layout,
        image: Arc::new(image),
        _folder: Some(folder),
    })
}

/// Files are read and written on a thread for blocking work.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}
