//! Registries: images of the store are pushed by the registry client, those of an engine by the engine.

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use oci_image::registry::{
    BlobSource, Client, Observer, OpenFuture, Options, Outcome, RegistryError, Transfer,
};
use oci_image::{Descriptor, Digest, Index, Layout, LayoutError, Reference, StoredImage};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use crate::diagnostic::{Code, Diagnostic};
use crate::event::Event;
use crate::image::DockerConfig;
use crate::image::progress::Task;
use crate::stack::ServiceName;

use super::byte_stream::written_by;
use super::credentials::DockerLogins;
use super::deliver::{DeliveredImage, Delivery, DeliveryContext, Source, each};
use super::delivery_error::DeliveryError;
use super::insecure::insecure_registries;
use super::moved::{Bytes as Size, Moved};
use super::node_archive::unreadable;
use super::push::Push;
use super::source::blocking;

/// The registry has something else under the tag.
const OTHER_CONTENT: Code = Code::new("S0533");
/// Images at the same time.
const IMAGES: usize = 4;
/// Blobs of an image at the same time; the client has a limit for all together.
const BLOBS: usize = 8;
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

/// What there is to push, in this order.
struct Content {
    /// Layers and configurations, each once.
    blobs: Vec<Descriptor>,
    /// How many of the blobs are layers and how large the layers are.
    layers: BTreeMap<Digest, u64>,
    /// Manifests with their bytes; an index comes after what it lists.
    documents: Vec<(Descriptor, Vec<u8>)>,
}

impl StorePush<'_> {
    async fn run(&self, task: &Task<'_>) -> Result<DeliveredImage, DeliveryError> {
        let reference = &self.image.reference;
        let content = self.content().await?;
        if let Some(found) = self.registry(self.client.head_manifest(reference).await)? {
            if found.digest == self.descriptor.digest {
                // Others may take layers from there.
                let blobs: Vec<Digest> = content.blobs.iter().map(|blob| blob.digest).collect();
                self.registry(self.client.saw(reference, &blobs).await)?;
            } else {
                self.warn(found.digest);
            }
            return Ok(DeliveredImage::present().pinned(reference.pinned(found.digest)));
        }
        let moved = self.push(&content, task).await?;
        let pinned = reference.pinned(self.descriptor.digest);
        Ok(DeliveredImage::moved(moved).pinned(pinned))
    }

    async fn content(&self) -> Result<Content, DeliveryError> {
        let (layout, descriptor) = (self.layout.clone(), self.descriptor.clone());
        let read = blocking(move || Content::read(&layout, &descriptor)).await;
        read.map_err(|source| DeliveryError::Store {
            service: self.image.service.clone(),
            source,
        })
    }

    /// Blobs first, the tag last: what is cut in between is seen by nobody.
    async fn push(&self, content: &Content, task: &Task<'_>) -> Result<Moved, DeliveryError> {
        let counter = Arc::new(Counter::default());
        let client = self.client.observed(Arc::clone(&counter) as Arc<dyn Observer>);
        let all = content.layers.values().sum();
        let moved = tokio::select! {
            moved = self.push_blobs(&client, content) => moved?,
            never = counter.tell(task, all) => match never {},
        };
        let reference = &self.image.reference;
        for (document, bytes) in &content.documents {
            let place = match document.digest == self.descriptor.digest {
                true => reference.clone(),
                false => untagged(reference, document.digest),
            };
            let bytes = Bytes::copy_from_slice(bytes);
            let pushed = client.push_manifest(&place, &document.media_type, bytes).await;
            self.registry(pushed)?;
        }
        Ok(moved)
    }

    async fn push_blobs(&self, client: &Client, content: &Content) -> Result<Moved, DeliveryError> {
        let whole = Moved {
            of: content.layers.values().sum(),
            ..Moved::default()
        };
        futures_util::stream::iter(&content.blobs)
            .map(async |blob| {
                let source = Arc::new(LayoutBlob(self.layout.clone(), blob.clone()));
                let pushed = client.push_blob(&self.image.reference, blob, source).await;
                Ok((blob, self.registry(pushed)?))
            })
            .buffer_unordered(BLOBS)
            .try_fold(whole, async |moved, (blob, outcome)| {
                let is_layer = content.layers.contains_key(&blob.digest);
                Ok(match outcome {
                    Outcome::Uploaded if is_layer => moved.and_layer(blob.size),
                    _ => moved,
                })
            })
            .await
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

impl Content {
    fn read(layout: &Layout, descriptor: &Descriptor) -> Result<Self, LayoutError> {
        let mut content = Self {
            blobs: Vec::new(),
            layers: BTreeMap::new(),
            documents: Vec::new(),
        };
        let bytes = layout.read(descriptor)?;
        // An index may leave out platforms: those count that are there.
        let index = serde_json::from_slice::<Index>(&bytes);
        if let Ok(index) = index && descriptor.is_index() {
            for listed in index.manifests.iter().filter(|listed| layout.has(listed)) {
                content.add(&layout.manifest(listed)?);
                content.documents.push((listed.clone(), layout.read(listed)?));
            }
        } else {
            content.add(&layout.manifest(descriptor)?);
        }
        content.documents.push((descriptor.clone(), bytes));
        Ok(content)
    }

    fn add(&mut self, image: &StoredImage) {
        let has = |blobs: &[Descriptor], blob: &Descriptor| {
            blobs.iter().any(|known| known.digest == blob.digest)
        };
        for layer in &image.manifest.layers {
            self.layers.insert(layer.digest, layer.size);
        }
        for blob in image.manifest.layers.iter().chain([&image.manifest.config]) {
            if !has(&self.blobs, blob) {
                self.blobs.push(blob.clone());
            }
        }
    }
}

/// A blob that is sent from its file, from any place in it.
struct LayoutBlob(Layout, Descriptor);

impl BlobSource for LayoutBlob {
    fn open(&self, offset: u64) -> OpenFuture<'_> {
        let (layout, blob) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            let content = written_by(move |writer| {
                let mut file = layout.open_blob(&blob).map_err(unreadable)?;
                file.seek(SeekFrom::Start(offset))?;
                io::copy(&mut file, writer).map(drop)
            });
            let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(StreamReader::new(content));
            Ok(reader)
        })
    }
}

/// How many bytes of each blob went over.
#[derive(Default)]
struct Counter(Mutex<BTreeMap<Digest, u64>>);

impl Observer for Counter {
    fn progress(&self, transfer: Transfer) {
        let done = match transfer.outcome {
            Some(Outcome::Existing | Outcome::Mounted) => 0,
            _ => transfer.done,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(transfer.digest, done);
    }
}

impl Counter {
    /// Tells how far it is, until dropped.
    async fn tell(&self, task: &Task<'_>, of: u64) -> std::convert::Infallible {
        let mut told = 0;
        loop {
            tokio::time::sleep(PROGRESS_INTERVAL).await;
            let sent = self.sent();
            if sent != told {
                told = sent;
                task.progress(format!("{} of {}", Size(sent), Size(of.max(sent))));
            }
        }
    }

    fn sent(&self) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().sum()
    }
}

fn untagged(reference: &Reference, digest: Digest) -> Reference {
    let (registry, repository) = (reference.registry(), reference.repository());
    format!("{registry}/{repository}@{digest}")
        .parse()
        .expect("the parts of a reference make a reference")
}

fn fault(service: &ServiceName) -> impl FnOnce(RegistryError) -> DeliveryError {
    let service = service.clone();
    move |source| DeliveryError::Registry { service, source }
}

#[cfg(test)]
mod tests;
