//! What goes with images: bills of materials as files, and beside an image in its registry those, its provenance and
//! signatures.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oci_image::{Descriptor, Platform, Reference, StoredImage};

use crate::attest::{self, Document, Key, KeySource, Origin, Subject};
use crate::delivery::{
    AttachContext, AttachError, Attacher, Attachment, Delivered, DeliveredImage, DeliveryReport,
    Destination, Route,
};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::event::Event;
use crate::image::{self, BuildReport, BuiltImage, Held, ImageSpec, Store};
use crate::settings::BuildSettings;
use crate::stack::{Build, ServiceName, Stack};
use crate::timings::Step;

use super::workshop::{healed, reference, source_date_epoch};
use super::{CommandError, Env};

/// A bill of materials cannot be written.
const UNWRITABLE: Code = Code::new("S0465");
/// Signatures are kept in a registry, and there is none.
const NO_REGISTRY: Code = Code::new("S0466");

/// What a user wants to go with images, beside what always does.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Where bills of materials are written to.
    sbom: Option<PathBuf>,
    /// What signs.
    key: Option<Key>,
}

/// Images that have been built, and where they are now.
pub(super) struct Shipment<'a> {
    pub(super) stack: &'a Stack,
    pub(super) specs: &'a BTreeMap<ServiceName, ImageSpec>,
    pub(super) store: &'a Store,
    pub(super) wanted: &'a Wanted,
    pub(super) env: &'a Env,
}

impl Wanted {
    const NOTHING: Self = Self {
        sbom: None,
        key: None,
    };

    /// Reads the key. Called before anything is built: what cannot be signed is not built in vain.
    pub(super) fn new(settings: &BuildSettings) -> Result<Self, CommandError> {
        let key = match &settings.key {
            None => None,
            Some(_) if settings.to != Some(Destination::Registry) => return Err(no_registry()),
            Some(place) => {
                let Ok(place) = place.parse::<KeySource>();
                Some(Key::load(&place)?)
            }
        };
        Ok(Self {
            sbom: settings.sbom.clone(),
            key,
        })
    }

    /// Whether anything was asked for.
    pub(super) fn any(&self) -> bool {
        self.sbom.is_some() || self.key.is_some()
    }
}

impl<'a> Shipment<'a> {
    /// One on its way to a cluster, with what goes with images unasked.
    pub(super) fn to_cluster(
        stack: &'a Stack,
        specs: &'a BTreeMap<ServiceName, ImageSpec>,
        store: &'a Store,
        env: &'a Env,
    ) -> Self {
        Self {
            stack,
            specs,
            store,
            wanted: &Wanted::NOTHING,
            env,
        }
    }

    /// Writes and attaches what is wanted. What was moved into a registry now gets its provenance in any case.
    pub(super) async fn document(
        &self,
        built: &BuildReport,
        delivered: Option<&DeliveryReport>,
    ) -> Result<(), CommandError> {
        let chosen: Vec<Shipped<'_>> = built
            .images
            .iter()
            .filter_map(|(service, image)| self.shipped(service, image, delivered))
            .filter(|shipped| shipped.place.is_some() || self.wanted.sbom.is_some())
            .collect();
        if chosen.is_empty() {
            return Ok(());
        }
        let _attesting = self.env.timings.common(Step::Attest);
        let origin = origin(&self.stack.root)?;
        let mut attaching = Vec::new();
        for shipped in &chosen {
            let images = self.stored(shipped)?;
            if let Some(folder) = &self.wanted.sbom {
                self.write(folder, shipped, &images, &origin)?;
            }
            if shipped.place.is_some() {
                attaching.push((shipped, images));
            }
        }
        self.attach(attaching, &origin).await
    }

    /// `None` for an image that is not of this machine.
    fn shipped<'s>(
        &'s self,
        service: &'s ServiceName,
        image: &'s BuiltImage,
        delivered: Option<&'s DeliveryReport>,
    ) -> Option<Shipped<'s>> {
        let spec = self.specs.get(service)?;
        let to_registry = delivered.filter(|report| matches!(report.route, Route::Registry(_)));
        let place = to_registry
            .and_then(|report| report.images.get(service))
            .filter(|place| place.outcome != Delivered::Present || self.wanted.any())
            .filter(|place| place.pinned.is_some());
        match image.held {
            Held::Elsewhere => None,
            _ => Some(Shipped {
                spec,
                image,
                reference: reference(&image.reference),
                place,
            }),
        }
    }

    /// The images that were assembled in the store, one a platform; none of those that the engine has made.
    fn stored(&self, shipped: &Shipped<'_>) -> Result<Vec<StoredImage>, CommandError> {
        let Some(image) = shipped.in_store(self.store)? else {
            return Ok(Vec::new());
        };
        let images = self.store.layout().images(&image);
        images.map_err(|error| healed(self.store, error))
    }

    fn sbom(
        &self,
        shipped: &Shipped<'_>,
        image: &StoredImage,
        about: (&Subject, &Origin),
    ) -> Result<Option<Document>, CommandError> {
        let contents = image::contents(self.stack, shipped.spec, self.store, image)
            .map_err(|error| healed(self.store, error))?;
        Ok(contents.map(|contents| attest::sbom(about.0, &contents, about.1.created)))
    }

    fn write(
        &self,
        folder: &Path,
        shipped: &Shipped<'_>,
        images: &[StoredImage],
        origin: &Origin,
    ) -> Result<(), CommandError> {
        let service = &shipped.spec.service;
        if images.is_empty() {
            let note = format!(
                "no SBOM of {service}: what a Dockerfile or a program puts into an image is not known"
            );
            self.env.events.emit(Event::Note(note));
        }
        for image in images {
            let platform = &image.config.platform;
            let subject = self.subject(shipped, &image.descriptor, platform);
            let file = match images.len() {
                1 => format!("{service}.spdx.json"),
                _ => format!(
                    "{service}.{}.spdx.json",
                    platform.to_string().replace('/', "-")
                ),
            };
            if let Some(document) = self.sbom(shipped, image, (&subject, origin))? {
                let file = folder.join(file);
                write_atomically(folder, &file, &document.content)
                    .map_err(|source| unwritable(&file, &source))?;
            }
        }
        Ok(())
    }

    /// An image that goes to no registry is named as on this machine.
    fn subject(
        &self,
        shipped: &Shipped<'_>,
        manifest: &Descriptor,
        platform: &Platform,
    ) -> Subject {
        let reference = &shipped.reference;
        let mut subject = Subject::new(reference, manifest.clone(), platform.clone());
        if self.stack.environment.registry.is_none() {
            subject.name = reference.repository().to_owned();
        }
        subject
    }

    async fn attach(
        &self,
        images: Vec<(&Shipped<'_>, Vec<StoredImage>)>,
        origin: &Origin,
    ) -> Result<(), CommandError> {
        if images.is_empty() {
            return Ok(());
        }
        let attacher = Attacher::open()?;
        let mut attachments = Vec::new();
        for (shipped, stored) in images {
            let prepared = match &shipped.image.held {
                Held::Store(image) => self.of_store(shipped, image, &stored, origin),
                Held::Engine(id) => {
                    let prepared = self.of_engine(shipped, id, &stored, (&attacher, origin));
                    tokio::select! {
                        prepared = prepared => prepared,
                        () = self.env.cancel.cancelled() => return Err(super::interrupted()),
                    }
                }
                Held::Elsewhere => continue,
            };
            attachments.extend(prepared?);
        }
        let context = AttachContext {
            key: self.wanted.key.as_ref(),
            origin,
            required: self.wanted.any(),
            events: self.env.events.as_ref(),
            cancel: &self.env.cancel,
        };
        let attached = attacher.attach(&attachments, &context).await?;
        if self.wanted.any() {
            let note = format!(
                "{} documents and signatures attached, {} present",
                attached.pushed, attached.present
            );
            self.env.events.emit(Event::Note(note));
        }
        Ok(())
    }

    /// Documents about every platform; an index of several is signed as well, since that is what is pulled.
    fn of_store(
        &self,
        shipped: &Shipped<'_>,
        image: &Descriptor,
        stored: &[StoredImage],
        origin: &Origin,
    ) -> Result<Vec<Attachment>, CommandError> {
        if shipped.reference.digest() != Some(image.digest) {
            return Err(shipped.not_ours());
        }
        let mut attachments = Vec::new();
        for one in stored {
            let platform = &one.config.platform;
            let subject = self.subject(shipped, &one.descriptor, platform);
            attachments.push(self.attachment(shipped, subject, Some(one), origin)?);
        }
        if image.is_index() && self.wanted.key.is_some() {
            attachments.push(Attachment {
                service: shipped.spec.service.clone(),
                subject: self.subject(shipped, image, &image::host_platform()),
                documents: Vec::new(),
            });
        }
        Ok(attachments)
    }

    /// Under which digest the engine has pushed it, only the registry knows.
    async fn of_engine(
        &self,
        shipped: &Shipped<'_>,
        id: &str,
        stored: &[StoredImage],
        (attacher, origin): (&Attacher, &Origin),
    ) -> Result<Vec<Attachment>, CommandError> {
        let found = attacher.image(&shipped.spec.service, &shipped.reference);
        let found = match found.await {
            Ok(found) => found,
            Err(error) if self.wanted.any() => return Err(error.into()),
            Err(error) => {
                let warning = error.into_warning().map(Event::Warning);
                warning
                    .into_iter()
                    .for_each(|event| self.env.events.emit(event));
                return Ok(Vec::new());
            }
        };
        // An engine's id is the digest of the configuration, or in containerd's store that of the manifest.
        let is_ours = found.config.into_iter().chain([found.descriptor.digest]);
        if shipped.is_present() && !is_ours.into_iter().any(|digest| digest.to_string() == id) {
            return Err(shipped.not_ours());
        }
        let platform = platform(shipped.spec);
        let subject = self.subject(shipped, &found.descriptor, &platform);
        let same = stored
            .iter()
            .find(|image| image.config.platform == platform);
        Ok(vec![self.attachment(shipped, subject, same, origin)?])
    }

    fn attachment(
        &self,
        shipped: &Shipped<'_>,
        subject: Subject,
        stored: Option<&StoredImage>,
        origin: &Origin,
    ) -> Result<Attachment, CommandError> {
        let provenance = image::provenance(self.stack, shipped.spec, &subject.platform, origin)?;
        let mut documents = vec![provenance.statement(&subject)];
        if let (Some(_), Some(image)) = (&self.wanted.sbom, stored) {
            documents.extend(self.sbom(shipped, image, (&subject, origin))?);
        }
        Ok(Attachment {
            service: shipped.spec.service.clone(),
            subject,
            documents,
        })
    }
}

/// One image, and what became of it.
struct Shipped<'a> {
    spec: &'a ImageSpec,
    image: &'a BuiltImage,
    /// With its digest, where a registry has it.
    reference: Reference,
    /// The image in its registry, where something is to be attached to it.
    place: Option<&'a DeliveredImage>,
}

impl Shipped<'_> {
    fn not_ours(&self) -> CommandError {
        let reference = self.reference.clone();
        AttachError::NotOurs { reference }.into()
    }

    fn is_present(&self) -> bool {
        self.place
            .is_some_and(|place| place.outcome == Delivered::Present)
    }

    /// What the engine has put together may have been made ready in the store.
    fn in_store(&self, store: &Store) -> Result<Option<Descriptor>, CommandError> {
        match (&self.image.held, &self.spec.build) {
            (Held::Store(image), _) => Ok(Some(image.clone())),
            (Held::Engine(_), Build::Native(_)) => Ok(store.find(self.spec)?),
            _ => Ok(None),
        }
    }
}

/// What an image of the engine runs on.
fn platform(spec: &ImageSpec) -> Platform {
    match &spec.build {
        Build::Dockerfile(build) => build.platform.clone(),
        _ => None,
    }
    .unwrap_or_else(image::host_platform)
}

/// Never the clock: the same sources give the same documents.
fn origin(root: &Path) -> Result<Origin, CommandError> {
    let revision = attest::revision(root);
    let committed = revision.as_ref().map(|revision| revision.committed);
    Ok(Origin {
        created: source_date_epoch()?.or(committed).unwrap_or_default(),
        revision,
    })
}

/// Whoever reads the file never sees half of it.
fn write_atomically(folder: &Path, file: &Path, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut written = tempfile::NamedTempFile::new_in(folder)?;
    written.write_all(content)?;
    // Temporary files are private, this one is a result.
    written
        .as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    written.persist(file).map_err(|error| error.error)?;
    Ok(())
}

fn unwritable(file: &Path, source: &io::Error) -> CommandError {
    CommandError {
        exit: Exit::Failed,
        diagnostics: vec![
            Diagnostic::error(UNWRITABLE, format!("failed to write {}", file.display()))
                .caused_by(source),
        ],
    }
}

fn no_registry() -> CommandError {
    let message = "`--sign` needs a registry: signatures are kept beside the image there";
    CommandError {
        exit: Exit::BadInput,
        diagnostics: vec![
            Diagnostic::error(NO_REGISTRY, message)
                .hint("add `--to registry`; which one says `registry:` in the environment's file"),
        ],
    }
}
