//! Registries: images of the store are pushed by the registry client, those of an engine by the engine.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use oci_image::registry::{
    Client, Observer, Outcome, PushedImage, RegistryError, Transfer, TransferError,
};
use oci_image::{Descriptor, Digest, Layout, LayoutError, Reference, StoredImage, media_type};

use crate::diagnostic::{Code, Diagnostic};
use crate::event::Event;
use crate::image::background::blocking;
use crate::image::progress::Task;
use crate::image::{DockerConfig, registry_client};
use crate::stack::ServiceName;
use crate::timings::Step;

use super::deliver::{DeliveredImage, Delivery, DeliveryContext, Pace, Source, each};
use super::delivery_error::DeliveryError;
use super::moved::{Bytes, Moved};
use super::push::Push;
use super::zstd_support::node_without_zstd;

/// The registry has something else under the tag.
const OTHER_CONTENT: Code = Code::new("S0533");
/// Images at the same time.
const IMAGES: Pace = Pace {
    at_once: 4,
    step: Step::Push,
};
/// Questions that cost a registry next to nothing.
const LOOKUPS_AT_ONCE: usize = 16;
/// A terminal shows no more.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Brings images to the registries of their references.
pub(super) async fn deliver(
    images: &[Delivery],
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
    let config = DockerConfig::load()?;
    deliver_with(&registry_client(&config), &config, images, context).await
}

/// Those of the images that their registries have, with their digests.
pub async fn find_in_registry(
    images: BTreeMap<ServiceName, Reference>,
) -> Result<BTreeMap<ServiceName, Reference>, DeliveryError> {
    let config = DockerConfig::load()?;
    let client = &registry_client(&config);
    let pinned = async |(service, reference): (ServiceName, Reference)| {
        let found = client.head_manifest(&reference).await;
        let found = found.map_err(fault(&service))?;
        Ok(found.map(|found| (service, reference.pinned(found.digest))))
    };
    let found: Vec<Result<_, DeliveryError>> = futures_util::stream::iter(images)
        .map(pinned)
        .buffer_unordered(LOOKUPS_AT_ONCE)
        .collect()
        .await;
    found.into_iter().filter_map(Result::transpose).collect()
}

async fn deliver_with(
    client: &Client,
    config: &DockerConfig,
    images: &[Delivery],
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
    let found = &tokio::select! {
        found = find_all(client, images) => found?,
        () = context.cancel.cancelled() => return Err(DeliveryError::Interrupted),
    };
    each(images, IMAGES, context, async |image, task| {
        match &image.source {
            Source::Store { layout, descriptor } => {
                let push = StorePush {
                    image,
                    layout,
                    descriptor,
                    client,
                    context,
                };
                match found.get(&image.service) {
                    Some(found) => Ok(push.keep(*found)),
                    None => push.push(task).await,
                }
            }
            Source::Engine { .. } => {
                let push = Push {
                    service: &image.service,
                    reference: &image.reference,
                    docker: context.engine()?.docker(),
                    task,
                };
                push.run(config).await
            }
        }
    })
    .await
}

/// The images of the store that registries have, before any is pushed: the others may take layers from them.
async fn find_all(
    client: &Client,
    images: &[Delivery],
) -> Result<BTreeMap<ServiceName, Digest>, DeliveryError> {
    let found: Vec<Option<(ServiceName, Digest)>> = futures_util::stream::iter(images)
        .map(|image| find(client, image))
        .buffer_unordered(IMAGES.at_once)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

async fn find(
    client: &Client,
    image: &Delivery,
) -> Result<Option<(ServiceName, Digest)>, DeliveryError> {
    let Source::Store { layout, descriptor } = &image.source else {
        return Ok(None);
    };
    let found = client.head_manifest(&image.reference).await;
    let Some(found) = found.map_err(fault(&image.service))? else {
        return Ok(None);
    };
    if found.digest == descriptor.digest {
        let images = images(image, layout, descriptor).await?;
        let blobs = images.iter().flat_map(|image| {
            let manifest = &image.manifest;
            manifest.layers.iter().chain([&manifest.config])
        });
        let blobs: Vec<Digest> = blobs.map(|blob| blob.digest).collect();
        let seen = client.saw(&image.reference, &blobs);
        seen.map_err(fault(&image.service))?;
    }
    Ok(Some((image.service.clone(), found.digest)))
}

/// Of all platforms: whatever they run on, a registry takes them.
async fn images(
    image: &Delivery,
    layout: &Layout,
    descriptor: &Descriptor,
) -> Result<Vec<StoredImage>, DeliveryError> {
    let (layout, descriptor) = (layout.clone(), descriptor.clone());
    let opened = blocking(move || layout.images(&descriptor)).await;
    opened.map_err(unreadable(&image.service))
}

/// An image of the store on its way.
struct StorePush<'a> {
    image: &'a Delivery,
    layout: &'a Layout,
    descriptor: &'a Descriptor,
    client: &'a Client,
    context: &'a DeliveryContext<'a>,
}

impl StorePush<'_> {
    /// What is there stays.
    fn keep(&self, found: Digest) -> DeliveredImage {
        if found != self.descriptor.digest {
            self.warn(found);
        }
        DeliveredImage::present().pinned(self.image.reference.pinned(found))
    }

    /// Blobs first, the tag last: what is cut in between is seen by nobody.
    async fn push(&self, task: &Task<'_>) -> Result<DeliveredImage, DeliveryError> {
        self.check_compression().await?;
        let (reference, service) = (&self.image.reference, &self.image.service);
        let counter = Arc::new(Counter::default());
        let observer = Arc::clone(&counter) as Arc<dyn Observer>;
        let client = self.client.observed(observer);
        let pushed = tokio::select! {
            pushed = client.push_image(self.layout, self.descriptor, reference) => pushed,
            never = counter.tell(task) => match never {},
        };
        let pushed = pushed.map_err(|error| match error {
            TransferError::Registry(source) => fault(service)(source),
            TransferError::Layout(source) => unreadable(service)(source),
        })?;
        let pinned = reference.pinned(pushed.descriptor.digest);
        Ok(DeliveredImage::moved(moved(&pushed)).pinned(pinned))
    }

    /// Refuses what no pod of the cluster could start.
    async fn check_compression(&self) -> Result<(), DeliveryError> {
        let Some((node, runtime)) = node_without_zstd(self.context.cluster) else {
            return Ok(());
        };
        let images = images(self.image, self.layout, self.descriptor).await?;
        let is_zstd = |layer: &Descriptor| layer.media_type == media_type::LAYER_ZSTD;
        let mut layers = images.iter().flat_map(|image| &image.manifest.layers);
        if !layers.any(is_zstd) {
            return Ok(());
        }
        Err(DeliveryError::Zstd {
            service: self.image.service.clone(),
            node: node.to_owned(),
            runtime: runtime.to_owned(),
        })
    }

    /// The tag is the digest of the inputs: another machine made something else of the same sources. What is there
    /// may be running, so it stays.
    fn warn(&self, found: Digest) {
        let reference = &self.image.reference;
        let warning = Diagnostic::warning(
            OTHER_CONTENT,
            format!("{reference} has other content than the image that was built here"),
        );
        self.context.events.emit(Event::Warning(
            warning
                .note(format!("there {found}, here {}", self.descriptor.digest))
                .note("what is there stays, and is what pods run")
                .hint("builds of the same sources differ where their toolchains or platforms do"),
        ));
    }
}

/// Configurations are not worth a word.
fn moved(pushed: &PushedImage) -> Moved {
    let configs = [media_type::CONFIG, media_type::DOCKER_CONFIG];
    let layers = pushed
        .blobs
        .iter()
        .filter(|(blob, _)| !configs.contains(&blob.media_type.as_str()));
    let none = Moved {
        of: layers.clone().map(|(layer, _)| layer.size).sum(),
        ..Moved::default()
    };
    layers
        .filter(|(_, outcome)| *outcome == Outcome::Uploaded)
        .fold(none, |moved, (layer, _)| moved.and_layer(layer.size))
}

/// How many bytes of each blob went over, and how long it is.
#[derive(Default)]
struct Counter(Mutex<BTreeMap<Digest, (u64, u64)>>);

impl Observer for Counter {
    fn progress(&self, transfer: Transfer) {
        let done = match transfer.outcome {
            Some(Outcome::Existing | Outcome::Mounted) => 0,
            _ => transfer.done,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(transfer.digest, (done, transfer.size));
    }
}

impl Counter {
    /// Tells how far it is, until dropped.
    async fn tell(&self, task: &Task<'_>) -> Infallible {
        let mut told = 0;
        loop {
            tokio::time::sleep(PROGRESS_INTERVAL).await;
            let (sent, of) = self.sums();
            if sent != told {
                told = sent;
                task.progress(format!("{} of {}", Bytes(sent), Bytes(of)));
            }
        }
    }

    fn sums(&self) -> (u64, u64) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = all.values().map(|(done, _)| done).sum();
        (done, all.values().map(|(_, size)| size).sum())
    }
}

fn unreadable(service: &ServiceName) -> impl FnOnce(LayoutError) -> DeliveryError {
    let service = service.clone();
    move |source| DeliveryError::Store { service, source }
}

fn fault(service: &ServiceName) -> impl FnOnce(RegistryError) -> DeliveryError {
    let service = service.clone();
    move |source| DeliveryError::Registry { service, source }
}

#[cfg(test)]
mod tests;
