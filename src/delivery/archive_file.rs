//! `--to archive:FILE`: one file with all images, as `docker save` writes it and `docker load` reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use oci_image::{DockerImage, docker_manifest, write_docker_archives};
use tokio_util::sync::CancellationToken;

use crate::event::{Phase, TaskOutcome};
use crate::image::progress::Task;
use crate::stack::ServiceName;

use super::deliver::{DeliveredImage, Delivery, DeliveryContext};
use super::delivery_error::DeliveryError;
use super::names::familiar;
use super::source::{Opened, blocking, open};

/// The first file of an archive of ours; `docker save` writes it last.
const MANIFEST: &str = "manifest.json";
/// No manifest of an archive is longer.
const MANIFEST_LIMIT: u64 = 16 << 20;
/// The end of the name of a file that is being written.
const PARTIAL: &str = ".partial";

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
    let there = manifest_of(file)?;
    let (mut prepared, mut content) = (Vec::new(), Content(Vec::new()));
    for image in images {
        let task = Task::start(context.events, Phase::Deliver, image.service.as_str());
        let opened = tokio::select! {
            opened = open(image, context, &task) => opened?,
            () = context.cancel.cancelled() => return Err(DeliveryError::Interrupted),
        };
        content.0.push((familiar(&image.reference), opened));
        prepared.push(Prepared {
            service: &image.service,
            task,
        });
    }
    let is_there = there.is_some_and(|there| there == content.as_images(docker_manifest));
    if !is_there {
        content = write_file(file, content, context.cancel).await?;
    }
    let delivered = prepared
        .into_iter()
        .zip(&content.0)
        .map(|(image, (_, opened))| {
            let delivered = match is_there {
                true => DeliveredImage::present(),
                false => DeliveredImage::moved(opened.all()),
            };
            match is_there {
                true => image.task.finish(TaskOutcome::Unchanged, "present"),
                false => image
                    .task
                    .finish(TaskOutcome::Done, opened.all().to_string()),
            }
            (image.service.clone(), delivered)
        });
    Ok(delivered.collect())
}

/// An archive of one image for a tool, gone when dropped.
pub(super) async fn temporary(
    opened: Opened,
    name: String,
    cancel: &CancellationToken,
) -> Result<(tempfile::TempPath, Opened), DeliveryError> {
    let file = tempfile::Builder::new().suffix(".tar").tempfile();
    let file = file.map_err(|source| DeliveryError::Archive {
        file: std::env::temp_dir(),
        source,
    })?;
    let path = file.into_temp_path();
    let content = Content(vec![(name, opened)]);
    let mut content = write_to(&path, content, cancel, File::create).await?;
    let (_, opened) = content.0.pop().expect("it had one image");
    Ok((path, opened))
}

/// Images by name, in the order of the archive.
struct Content(Vec<(String, Opened)>);

impl Content {
    fn as_images<T>(&self, with: impl FnOnce(&[DockerImage<'_>]) -> T) -> T {
        let tags: Vec<[&str; 1]> = self.0.iter().map(|(name, _)| [name.as_str()]).collect();
        let images = self
            .0
            .iter()
            .zip(&tags)
            .map(|((_, opened), tags)| DockerImage {
                layout: &opened.layout,
                image: &opened.image,
                tags,
            });
        with(&images.collect::<Vec<_>>())
    }

    fn write(&self, file: File, cancel: CancellationToken) -> io::Result<File> {
        let mut writer = BufWriter::new(Cancelled { file, cancel });
        self.as_images(|images| {
            write_docker_archives(images, &BTreeSet::new(), &mut writer).map(drop)
        })
        .map_err(io::Error::other)?;
        let Cancelled { file, .. } = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        Ok(file)
    }
}

/// The manifest that an archive of ours begins with; `None` where there is no file.
fn manifest_of(file: &Path) -> Result<Option<Vec<u8>>, DeliveryError> {
    let archive = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        archive => archive.map_err(|source| DeliveryError::Archive {
            file: file.to_owned(),
            source,
        })?,
    };
    let foreign = || DeliveryError::ForeignArchive {
        file: file.to_owned(),
    };
    first_file(archive)
        .ok()
        .flatten()
        .map(Some)
        .ok_or_else(foreign)
}

/// An archive of images is one that has its manifest first, as ours have; the content of the manifest.
fn first_file(archive: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut archive = tar::Archive::new(archive);
    let Some(entry) = archive.entries()?.next() else {
        return Ok(None);
    };
    let entry = entry?;
    if entry.path()? != Path::new(MANIFEST) {
        return Ok(None);
    }
    let mut content = Vec::new();
    entry.take(MANIFEST_LIMIT).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// Beside the target under another name, then renamed: who is killed leaves at most that one file, which the next run
/// writes over.
async fn write_file(
    file: &Path,
    content: Content,
    cancel: &CancellationToken,
) -> Result<Content, DeliveryError> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(PARTIAL);
    let partial = PathBuf::from(partial);
    let content = match write_to(&partial, content, cancel, locked).await {
        Ok(content) => content,
        Err(error) => {
            if !matches!(&error, DeliveryError::Archive { source, .. } if is_locked(source)) {
                fs::remove_file(&partial).ok();
            }
            return Err(error);
        }
    };
    fs::rename(&partial, file).map_err(|source| DeliveryError::Archive {
        file: file.to_owned(),
        source,
    })?;
    Ok(content)
}

async fn write_to(
    file: &Path,
    content: Content,
    cancel: &CancellationToken,
    create: impl FnOnce(PathBuf) -> io::Result<File> + Send + 'static,
) -> Result<Content, DeliveryError> {
    let (path, token) = (file.to_owned(), cancel.clone());
    let written = blocking(move || {
        let file = content.write(create(path)?, token)?;
        file.sync_all()?;
        Ok(content)
    })
    .await;
    written.map_err(|source| match cancel.is_cancelled() {
        true => DeliveryError::Interrupted,
        false => DeliveryError::Archive {
            file: file.to_owned(),
            source,
        },
    })
}

/// Opens the file for this process alone and empties it.
fn locked(path: PathBuf) -> io::Result<File> {
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
    file.set_len(0)?;
    Ok(file)
}

fn is_locked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy
}

/// Ends a write after Ctrl-C.
struct Cancelled {
    file: File,
    cancel: CancellationToken,
}

impl Write for Cancelled {
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
