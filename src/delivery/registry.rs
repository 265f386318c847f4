//! Registries: images of the store are pushed by the registry client, those of an engine by the engine.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oci_image::registry::{
    Client, Observer, Options, Outcome, PushedImage, RegistryError, Transfer, TransferError,
};
use oci_image::{Descriptor, Digest, Layout, LayoutError, Reference, media_type};

use crate::diagnostic::{Code, Diagnostic};
use crate::event::Event;
use crate::image::DockerConfig;
use crate::image::progress::Task;
use crate::stack::ServiceName;

use super::credentials::DockerLogins;
use super::deliver::{DeliveredImage, Delivery, DeliveryContext, Source, each};
use super::delivery_error::DeliveryError;
use super::insecure::insecure_registries;
use super::moved::{Bytes, Moved};
use super::push::Push;
use super::source::blocking;

/// The registry has something else under the tag.
const OTHER_CONTENT: Code = Code::new("S0533");
/// Images at the same time.
const IMAGES: usize = 4;
/// A terminal shows no more.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Brings images to the registries of their references.
pub(super) async fn deliver(
    images: &[Delivery],
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
    let config = DockerConfig::load()?;
    deliver_with(&client(&config), &config, images, context).await
}

/// The reference of an image with its digest, if its registry has it.
pub async fn find_in_registry(
    service: &ServiceName,
    reference: &Reference,
) -> Result<Option<Reference>, DeliveryError> {
    let config = DockerConfig::load()?;
    let found = client(&config).head_manifest(reference).await;
    let found = found.map_err(fault(service))?;
    Ok(found.map(|found| reference.pinned(found.digest)))
}

/// With the logins of the Docker command line, and plain http where the Docker engine speaks that.
fn client(config: &DockerConfig) -> Client {
    Client::new(Options {
        plain_http: insecure_registries(),
        credentials: DockerLogins::new(config.clone()),
        ..Options::default()
    })
}

async fn deliver_with(
    client: &Client,
    config: &DockerConfig,
    images: &[Delivery],
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
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
                push.run(task).await
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

/// An image of the store on its way.
struct StorePush<'a> {
    image: &'a Delivery,
    layout: &'a Layout,
    descriptor: &'a Descriptor,
    client: &'a Client,
    context: &'a DeliveryContext<'a>,
}

impl StorePush<'_> {
    async fn run(&self, task: &Task<'_>) -> Result<DeliveredImage, DeliveryError> {
        let reference = &self.image.reference;
        if let Some(found) = self.registry(self.client.head_manifest(reference).await)? {
            if found.digest == self.descriptor.digest {
                // Others may take layers from there.
                let blobs = self.blobs().await?;
                self.registry(self.client.saw(reference, &blobs))?;
            } else {
                self.warn(found.digest);
            }
            return Ok(DeliveredImage::present().pinned(reference.pinned(found.digest)));
        }
        let pushed = self.push(task).await?;
        let pinned = reference.pinned(pushed.descriptor.digest);
        Ok(DeliveredImage::moved(moved(&pushed)).pinned(pinned))
    }

    /// Blobs first, the tag last: what is cut in between is seen by nobody.
    async fn push(&self, task: &Task<'_>) -> Result<PushedImage, DeliveryError> {
        let counter = Arc::new(Counter::default());
        let client = self
            .client
            .observed(Arc::clone(&counter) as Arc<dyn Observer>);
        let pushed = tokio::select! {
            pushed = client.push_image(self.layout, self.descriptor, &self.image.reference) => pushed,
            never = counter.tell(task) => match never {},
        };
        pushed.map_err(|error| match error {
            TransferError::Registry(source) => fault(&self.image.service)(source),
            TransferError::Layout(source) => self.store(source),
        })
    }

    /// Layers and configuration of the image for its platform.
    async fn blobs(&self) -> Result<Vec<Digest>, DeliveryError> {
        let (layout, descriptor) = (self.layout.clone(), self.descriptor.clone());
        let platform = self.image.platform.clone();
        let image = blocking(move || layout.image(&descriptor, &platform)).await;
        let manifest = image.map_err(|source| self.store(source))?.manifest;
        let blobs = manifest.layers.iter().chain([&manifest.config]);
        Ok(blobs.map(|blob| blob.digest).collect())
    }

    fn store(&self, source: LayoutError) -> DeliveryError {
        DeliveryError::Store {
            service: self.image.service.clone(),
            source,
        }
    }

    fn registry<T>(&self, result: Result<T, RegistryError>) -> Result<T, DeliveryError> {
        result.map_err(fault(&self.image.service))
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

fn fault(service: &ServiceName) -> impl FnOnce(RegistryError) -> DeliveryError {
    let service = service.clone();
    move |source| DeliveryError::Registry { service, source }
}

#[cfg(test)]
mod tests;
