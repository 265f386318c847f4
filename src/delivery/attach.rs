//! Documents and signatures beside images in their registry, found by whoever finds the image.

use futures_util::{StreamExt, TryStreamExt};
use oci_image::registry::{Client, Document as Found, ErrorKind, RegistryError};
use oci_image::{Descriptor, Digest, Manifest, Reference};
use tokio_util::sync::CancellationToken;

use crate::attest::{
    Artifact, Document, Key, Origin, SignError, Subject, attestations, is_attested, is_signed,
    signature,
};
use crate::diagnostic::{Code, Diagnostic, Exit, Explain, Severity};
use crate::event::{Event, EventSink};
use crate::image::{DockerConfig, registry_client};
use crate::stack::ServiceName;

use super::delivery_error::DeliveryError;
use super::registry_fault;

/// The registry has something else under the tag than what was built here.
const NOT_OURS: Code = Code::new("S0536");
/// Something else is where signatures are looked for.
const OCCUPIED: Code = Code::new("S0537");
/// Images at the same time.
const IMAGES: usize = 4;

/// What is to be attached to one image.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Whose.
    pub service: ServiceName,
    /// The image in its registry: for one platform, or the index of all.
    pub subject: Subject,
    /// What is said about it; nothing about an index, which is only signed.
    pub documents: Vec<Document>,
}

/// How documents are attached.
#[derive(Clone, Copy)]
pub struct AttachContext<'a> {
    /// Signs images and documents.
    pub key: Option<&'a Key>,
    /// Where the sources are from.
    pub origin: &'a Origin,
    /// Whether a registry that takes no documents is an error: else it is a warning.
    pub required: bool,
    /// Who hears of it.
    pub events: &'a dyn EventSink,
    /// Ends it.
    pub cancel: &'a CancellationToken,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Documents and signatures that went over.
    pub pushed: usize,
    /// Those that were there.
    pub present: usize,
}

/// Attaches what is missing to images that are in a registry.
#[derive(Clone)]
pub struct Attacher {
    client: Client,
}

/// An image as its registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryImage {
    /// Of its manifest, or its index.
    pub descriptor: Descriptor,
    /// The digest of its configuration, by which engines know it; an index has none.
    pub config: Option<Digest>,
}

/// Why something is not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The registry refused or did not answer.
    #[error("failed to attach documents to the image of {service}")]
    Registry {
        /// Whose image.
        service: ServiceName,
        /// Where, while doing what, and why.
        #[source]
        source: RegistryError,
    },
    /// Documents about an image that is not there would be about nothing.
    #[error(
        "{reference} has other content than the image that was built here: nothing can be said about it"
    )]
    NotOurs {
        /// The image in the registry.
        reference: Reference,
    },
    /// What is there would be lost.
    #[error("`{place}` is no list of signatures, and is not overwritten")]
    Occupied {
        /// The tag.
        place: Reference,
    },
    /// No signature could be made.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Docker's logins cannot be read, or Ctrl-C.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

impl Attacher {
    /// With the logins of the Docker command line.
    pub fn open() -> Result<Self, AttachError> {
        let config = DockerConfig::load().map_err(DeliveryError::from)?;
        Ok(Self {
            client: registry_client(&config),
        })
    }

    /// The image that is under a reference.
    pub async fn image(
        &self,
        service: &ServiceName,
        reference: &Reference,
    ) -> Result<RegistryImage, AttachError> {
        let found = self.client.manifest(reference).await;
        let found = found.map_err(fault(service))?;
        Ok(RegistryImage {
            config: match found.document {
                Found::Image(manifest) => Some(manifest.config.digest),
                Found::Index(_) => None,
            },
            descriptor: found.descriptor,
        })
    }

    /// Brings what is missing; nothing is attached twice. Where documents are not required, images whose registry
    /// takes none are named in one warning.
    pub async fn attach(
        &self,
        attachments: &[Attachment],
        context: &AttachContext<'_>,
    ) -> Result<Attached, AttachError> {
        let jobs = attachments.iter().map(|attachment| async move {
            let attaching = Attaching {
                client: &self.client,
                attachment,
                place: repository(&attachment.subject),
                context,
            };
            match attaching.run().await {
                Err(AttachError::Registry { service, source }) if !context.required => {
                    Ok(Err((service, source)))
                }
                ended => ended.map(Ok),
            }
        });
        let jobs = futures_util::stream::iter(jobs).buffer_unordered(IMAGES);
        let ended: Vec<Result<Attached, (ServiceName, RegistryError)>> = tokio::select! {
            ended = jobs.try_collect() => ended?,
            () = context.cancel.cancelled() => return Err(DeliveryError::Interrupted.into()),
        };
        let (mut attached, mut refused) = (Attached::default(), Vec::new());
        for ended in ended {
            match ended {
                Ok(one) => {
                    attached.pushed += one.pushed;
                    attached.present += one.present;
                }
                Err(error) => refused.push(error),
            }
        }
        if let Some(warning) = warning(refused) {
            context.events.emit(Event::Warning(warning));
        }
        Ok(attached)
    }
}

/// What is attached to one image.
struct Attaching<'a> {
    client: &'a Client,
    attachment: &'a Attachment,
    /// The repository.
    place: Reference,
    context: &'a AttachContext<'a>,
}

impl Attaching<'_> {
    async fn run(&self) -> Result<Attached, AttachError> {
        let mut attached = self.documents().await?;
        if let Some(key) = self.context.key {
            self.sign(key, &mut attached).await?;
            if !self.attachment.documents.is_empty() {
                self.sign_documents(key, &mut attached).await?;
            }
        }
        Ok(attached)
    }

    /// Those whose kind is not among what refers to the image.
    async fn documents(&self) -> Result<Attached, AttachError> {
        let Attachment {
            subject, documents, ..
        } = self.attachment;
        let mut attached = Attached::default();
        if documents.is_empty() {
            return Ok(attached);
        }
        let listed = self
            .client
            .referrers(&self.place, subject.manifest.digest, None)
            .await;
        let listed = listed.map_err(fault(&self.attachment.service))?;
        for document in documents {
            let is_listed =
                |entry: &Descriptor| entry.artifact_type.as_deref() == Some(document.media_type);
            if listed.iter().any(is_listed) {
                attached.present += 1;
                continue;
            }
            let artifact = Artifact::new(subject, document.clone(), self.context.origin);
            self.push(&artifact, &mut attached).await?;
        }
        Ok(attached)
    }

    /// Signs the image, unless this key has.
    async fn sign(&self, key: &Key, attached: &mut Attached) -> Result<(), AttachError> {
        let artifact = signature(&self.attachment.subject, key)?;
        match self.existing(&artifact).await? {
            Some(existing) if is_signed(&existing, key) => {
                attached.present += 1;
                Ok(())
            }
            Some(existing) => self.push(&artifact.added_to(&existing), attached).await,
            None => self.push(&artifact, attached).await,
        }
    }

    /// Signs the documents that this key has not signed yet.
    async fn sign_documents(&self, key: &Key, attached: &mut Attached) -> Result<(), AttachError> {
        let Attachment {
            subject, documents, ..
        } = self.attachment;
        let all = attestations(subject, documents, key)?;
        let Some(existing) = self.existing(&all).await? else {
            return self.push(&all, attached).await;
        };
        let is_missing = |document: &&Document| !is_attested(&existing, document, key);
        let missing: Vec<Document> = documents.iter().filter(is_missing).cloned().collect();
        if missing.is_empty() {
            attached.present += 1;
            return Ok(());
        }
        let artifact = attestations(subject, &missing, key)?.added_to(&existing);
        self.push(&artifact, attached).await
    }

    /// What is under the artifact's tag: signatures of others, too.
    async fn existing(&self, artifact: &Artifact) -> Result<Option<Manifest>, AttachError> {
        let place = self.place_of(artifact);
        match self.client.manifest(&place).await {
            Ok(found) => match found.document {
                Found::Image(manifest) => Ok(Some(*manifest)),
                Found::Index(_) => Err(AttachError::Occupied { place }),
            },
            Err(error) if *error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fault(&self.attachment.service)(error)),
        }
    }

    async fn push(&self, artifact: &Artifact, attached: &mut Attached) -> Result<(), AttachError> {
        let place = self.place_of(artifact);
        let parts = artifact.parts();
        let pushed = self
            .client
            .push_referrer(&place, &artifact.manifest, &parts)
            .await;
        pushed.map_err(fault(&self.attachment.service))?;
        attached.pushed += 1;
        Ok(())
    }

    fn place_of(&self, artifact: &Artifact) -> Reference {
        match &artifact.tag {
            Some(tag) => self
                .place
                .with_tag(tag)
                .expect("a digest's digits make a tag"),
            None => self.place.clone(),
        }
    }
}

/// Without tag and digest.
fn repository(subject: &Subject) -> Reference {
    let name = &subject.name;
    name.parse().expect("it is a part of a reference")
}

fn fault(service: &ServiceName) -> impl FnOnce(RegistryError) -> AttachError {
    let service = service.clone();
    move |source| AttachError::Registry { service, source }
}

/// One for all: it is the same registry, and most likely the same reason.
fn warning(mut refused: Vec<(ServiceName, RegistryError)>) -> Option<Diagnostic> {
    refused.sort_by(|(one, _), (other, _)| one.cmp(other));
    refused.dedup_by(|(one, _), (other, _)| one == other);
    let names: Vec<String> = refused
        .iter()
        .map(|(service, _)| service.to_string())
        .collect();
    let (_, reason) = refused.first()?;
    let message = format!("no provenance is attached to {}", names.join(", "));
    Some(Diagnostic {
        severity: Severity::Warning,
        ..registry_fault::explain(&message, reason).note("the images themselves are there")
    })
}

impl AttachError {
    /// For those who do not insist on documents.
    #[must_use]
    pub fn into_warning(self) -> Option<Diagnostic> {
        match self {
            Self::Registry { service, source } => warning(vec![(service, source)]),
            _ => None,
        }
    }
}

impl Explain for AttachError {
    fn exit(&self) -> Exit {
        match self {
            Self::Delivery(error) => error.exit(),
            _ => Exit::Failed,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let error = |code| Diagnostic::error(code, self.to_string());
        vec![match self {
            Self::Registry { source, .. } => registry_fault::explain(&self.to_string(), source),
            Self::NotOurs { .. } => error(NOT_OURS)
                .note("what is under a tag stays, since pods may run it")
                .hint("build where it was pushed from, with the same toolchain and the same SOURCE_DATE_EPOCH")
                .hint("or remove the tag from the registry, and push again"),
            Self::Occupied { .. } => error(OCCUPIED).hint("remove the tag if nobody needs it"),
            Self::Sign(error) => return error.diagnostics(),
            Self::Delivery(error) => return error.diagnostics(),
        }]
    }
}

#[cfg(test)]
mod tests;
