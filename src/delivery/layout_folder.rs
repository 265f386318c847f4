//! `--to oci:DIR`: a folder with an OCI image layout, as skopeo, podman and buildah read it.

use std::collections::BTreeMap;
use std::path::Path;

use oci_image::{Layout, LayoutError, copy_image};

use crate::stack::ServiceName;

use super::deliver::{DeliveredImage, Delivery, DeliveryContext, Source, each};
use super::delivery_error::DeliveryError;
use super::moved::Moved;
use super::source::{Opened, blocking, open};

/// Images at the same time: a disk is not faster with more.
const IMAGES: usize = 2;

/// Copies images into the layout in `folder`, and makes it where there is none. A folder with other things in it is
/// refused.
pub(super) async fn deliver(
    images: &[Delivery],
    folder: &Path,
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
    let failed = |source| DeliveryError::Layout {
        folder: folder.to_owned(),
        source,
    };
    let root = folder.to_owned();
    let layout = blocking(move || Layout::open(root)).await.map_err(failed)?;
    each(images, IMAGES, context, async |image, task| {
        let opened = open(image, context, task).await?;
        let copy = Copy::of(image, opened);
        let to = layout.clone();
        let moved = blocking(move || copy.run(&to)).await.map_err(failed)?;
        Ok(moved.map_or_else(DeliveredImage::present, DeliveredImage::moved))
    })
    .await
}

struct Copy {
    opened: Opened,
    /// A whole index, where the store has one.
    descriptor: oci_image::Descriptor,
    name: String,
}

impl Copy {
    fn of(image: &Delivery, opened: Opened) -> Self {
        let descriptor = match &image.source {
            Source::Store { descriptor, .. } => descriptor.clone(),
            Source::Engine { .. } => opened.image.descriptor.clone(),
        };
        Self {
            opened,
            descriptor,
            name: image.reference.to_string(),
        }
    }

    /// What was moved; `None` where the image is there under its name. The name comes last.
    fn run(&self, to: &Layout) -> Result<Option<Moved>, LayoutError> {
        let layers = &self.opened.image.manifest.layers;
        let missing = layers.iter().filter(|layer| !to.has(layer));
        let moved = missing.fold(self.opened.whole(), |moved, layer| moved.and_layer(layer.size));
        let named = to.resolve(&self.name)?.map(|found| found.digest);
        if named == Some(self.descriptor.digest) && moved.layers == 0 {
            return Ok(None);
        }
        copy_image(&self.opened.layout, to, &self.descriptor)?;
        to.tag(&self.name, &self.descriptor)?;
        Ok(Some(moved))
    }
}
