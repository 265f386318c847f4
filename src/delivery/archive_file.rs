//! `--to archive:FILE`: one file with all images, as `docker save` writes it and `docker load` reads it; with an OCI
//! layout beside that where an image is for several platforms.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_image::{ArchivedImage, Platform, archive_head, write_archive, write_docker_archive};
use tokio_util::sync::CancellationToken;

use crate::event::{Event, Phase, TaskOutcome};
use crate::image::background::blocking;
use crate::image::progress::Task;
use crate::stack::ServiceName;

use super::deliver::{DeliveredImage, Delivery, DeliveryContext};
use super::delivery_error::DeliveryError;
use super::names::familiar;
use super::source::{Opened, Whole, open_whole};

/// The first file of an archive of ours; `docker save` writes it last.
const MANIFEST: &str = "manifest.json";
/// What may follow it; archives that begin alike hold the same images.
const HEAD: [&str; 3] = [MANIFEST, "index.json", "oci-layout"];
/// No document of an archive is longer.
const DOCUMENT_LIMIT: u64 = 16 << 20;
/// The end of the name of a file that is being written.
const PARTIAL: &str = ".partial";

/// The documents that an archive begins with, by name.
type Head = Vec<(String, Vec<u8>)>;

/// An image that is ready to be written.
struct Prepared<'a> {
    service: &'a ServiceName,
    task: Task<'a>,
}

/// Writes all images into one file, whole or not at all. An archive that is there is replaced, unless it has these
/// very images; another file is not.
pub(super) async fn deliver(
    images: &[Delivery],
    file: &Path,
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
    let there = head_of(file)?;
    let (mut prepared, mut content) = (Vec::new(), Content(Vec::new()));
    for image in images {
        let task = Task::start(context.events, Phase::Deliver, image.service.as_str());
        let whole = tokio::select! {
            whole = open_whole(image, context, &task) => whole?,
            () = context.cancel.cancelled() => return Err(DeliveryError::Interrupted),
        };
        content.0.push(Archived::new(image, whole, context));
        prepared.push(Prepared {
            service: &image.service,
            task,
        });
    }
    let is_there = there.is_some_and(|there| there == content.head());
    if !is_there {
        content = write_file(file, content, context.cancel).await?;
    }
    let delivered = prepared
        .into_iter()
        .zip(&content.0)
        .map(|(image, archived)| {
            if is_there {
                image.task.finish(TaskOutcome::Unchanged, "present");
                return (image.service.clone(), DeliveredImage::present());
            }
            let moved = archived.whole.moved(archived.whole.layers());
            image.task.finish(TaskOutcome::Done, moved.to_string());
            (image.service.clone(), DeliveredImage::moved(moved))
        });
    Ok(delivered.collect())
}

/// An archive of one image for a tool, gone when dropped.
pub(super) async fn temporary(
    opened: &Opened,
    name: String,
    cancel: &CancellationToken,
) -> Result<tempfile::TempPath, DeliveryError> {
    let file = tempfile::Builder::new().suffix(".tar").tempfile();
    let file = file.map_err(failed(&std::env::temp_dir()))?;
    let path = file.path().to_owned();
    let (layout, image) = (opened.layout.clone(), Arc::clone(&opened.image));
    let token = cancel.clone();
    let written = blocking(move || {
        let mut writer = BufWriter::new(Cancelled {
            file: file.as_file(),
            cancel: &token,
        });
        write_docker_archive(&layout, &image, &[&name], &BTreeSet::new(), &mut writer)
            .map_err(io::Error::other)?;
        writer.flush()?;
        drop(writer);
        Ok(file.into_temp_path())
    });
    written.await.map_err(|source| match cancel.is_cancelled() {
        true => DeliveryError::Interrupted,
        false => failed(&path)(source),
    })
}

/// An image in the archive.
struct Archived {
    /// As Docker shows it.
    tag: String,
    /// With its registry.
    name: String,
    /// Whose image of several `docker load` is to take.
    platform: Platform,
    whole: Whole,
}

impl Archived {
    fn new(image: &Delivery, whole: Whole, context: &DeliveryContext<'_>) -> Self {
        let archived = Self {
            tag: familiar(&image.reference),
            name: image.reference.to_string(),
            platform: image.platform.clone(),
            whole,
        };
        if archived.as_image().docker.is_none() {
            let note = format!(
                "{} is not for {}: `docker load` takes only the other images of the archive",
                image.service, image.platform
            );
            context.events.emit(Event::Note(note));
        }
        archived
    }

    fn as_image(&self) -> ArchivedImage<'_> {
        ArchivedImage {
            layout: &self.whole.layout,
            descriptor: &self.whole.descriptor,
            docker: self.whole.for_platform(&self.platform),
            tag: &self.tag,
            name: &self.name,
        }
    }
}

/// Images in the order of the archive.
struct Content(Vec<Archived>);

impl Content {
    fn images(&self) -> Vec<ArchivedImage<'_>> {
        self.0.iter().map(Archived::as_image).collect()
    }

    fn head(&self) -> Head {
        let head = archive_head(&self.images()).into_iter();
        head.map(|(name, content)| (name.to_owned(), content))
            .collect()
    }

    fn write(&self, file: &File, cancel: &CancellationToken) -> io::Result<()> {
        let mut writer = BufWriter::new(Cancelled { file, cancel });
        write_archive(&self.images(), &mut writer).map_err(io::Error::other)?;
        writer.flush()
    }

    /// Beside the target under another name, then renamed: who is killed leaves at most that one file, which the next
    /// run writes over. Nobody else may write that file before its name is gone.
    fn write_whole(&self, to: &Path, cancel: &CancellationToken) -> io::Result<()> {
        let mut partial = to.as_os_str().to_owned();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let file = locked(&partial)?;
        let written = self
            .write(&file, cancel)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&partial, to));
        if written.is_err() {
            fs::remove_file(&partial).ok();
        }
        written
    }
}

/// The documents that an archive of ours begins with; `None` where there is no file.
fn head_of(file: &Path) -> Result<Option<Head>, DeliveryError> {
    let archive = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        archive => archive.map_err(failed(file))?,
    };
    match first_files(archive) {
        Ok(head) if !head.is_empty() => Ok(Some(head)),
        _ => Err(DeliveryError::ForeignArchive {
            file: file.to_owned(),
        }),
    }
}

/// An archive of images is one that has its manifest first, as ours have.
fn first_files(archive: impl Read) -> io::Result<Head> {
    let mut archive = tar::Archive::new(archive);
    let mut found = Vec::new();
    for (entry, name) in archive.entries()?.zip(HEAD) {
        let entry = entry?;
        if entry.path()? != Path::new(name) {
            break;
        }
        let mut content = Vec::new();
        entry.take(DOCUMENT_LIMIT).read_to_end(&mut content)?;
        found.push((name.to_owned(), content));
    }
    Ok(found)
}

async fn write_file(
    file: &Path,
    content: Content,
    cancel: &CancellationToken,
) -> Result<Content, DeliveryError> {
    let (path, token) = (file.to_owned(), cancel.clone());
    let written = blocking(move || content.write_whole(&path, &token).map(|()| content)).await;
    written.map_err(|source| match cancel.is_cancelled() {
        true => DeliveryError::Interrupted,
        false => failed(file)(source),
    })
}

fn failed(file: &Path) -> impl FnOnce(io::Error) -> DeliveryError {
    let file = file.to_owned();
    move |source| DeliveryError::Archive { file, source }
}

/// Opens the file for this process alone and empties it. The lock lies on the file and not on its name: who waited for
/// it may hold what has another name by now, and opens the file anew.
fn locked(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another process is writing it")
            }
            TryLockError::Error(error) => error,
        })?;
        if is_named(&file, path)? {
            file.set_len(0)?;
            return Ok(file);
        }
    }
}

/// Whether the path still leads to this very file.
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let file = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (file.dev(), file.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ends a write after Ctrl-C.
struct Cancelled<'a> {
    file: &'a File,
    cancel: &'a CancellationToken,
}

impl Write for Cancelled<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        self.file.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests;
