//! Bringing an image into the engine: as an archive without the layers that it has already.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use bollard::errors::Error as DockerError;
use bollard::models::{BuildInfo, ImageSummary};
use bollard::query_parameters::{ImportImageOptionsBuilder, ListImagesOptionsBuilder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, future};
use oci_image::Digest;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::image::assemble::INPUTS_LABEL;

use super::engine::Engine;

/// An image could not be loaded.
const LOAD: Code = Code::new("S0444");
/// As many images are looked at for layers, about a millisecond each: of the same repository, where most is shared,
/// and of each other one, which may have the same base. Their times tell nothing: those of reproducible images are all
/// the same.
const OF_THE_SAME: usize = 16;
const OF_EACH_OTHER: usize = 2;
/// Requests at a time.
const AT_ONCE: usize = 16;

/// Why an image is not in the engine.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine's disk is full.
    #[error("the Docker engine has no space left for the image")]
    NoSpace,
    /// The engine does not take the archive.
    #[error("the Docker engine refused the image: {0}")]
    Refused(String),
    /// The archive could not be read.
    #[error("failed to read the image")]
    Archive(#[source] io::Error),
    /// The connection broke.
    #[error("failed to send the image to the Docker engine")]
    Engine(#[source] DockerError),
}

/// Loads a Docker archive; `progress` hears what the engine does, such as `loading 12.3 of 30.1 MB`.
pub async fn load_archive<S>(
    engine: &Engine,
    archive: S,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(), LoadError>
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let (archive, failure) = watched(archive);
    let options = ImportImageOptionsBuilder::new().quiet(false).build();
    let answers = engine.docker().import_image_stream(options, archive, None);
    let mut answers = std::pin::pin!(answers);
    let mut ended = Ok(());
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(info) => {
                if let Some(text) = told(&info) {
                    progress(&text);
                }
            }
            Err(error) => {
                ended = Err(error);
                break;
            }
        }
    }
    // What went wrong on our side goes before what the engine made of it.
    if let Some(error) = failure() {
        return Err(LoadError::Archive(error));
    }
    ended.map_err(refused)
}

/// An image that an engine is to have.
#[derive(Clone, Copy, Debug)]
pub struct Loadable<'a> {
    /// What the engine is to call it.
    pub name: &'a str,
    /// Its layers, lowest first.
    pub diff_ids: &'a [Digest],
}

/// Loads an image. `archive` makes a Docker archive without the layers it is
/// given; where the engine does not take that, it gets a full one.
pub async fn load_image<S>(
    engine: &Engine,
    image: Loadable<'_>,
    archive: impl Fn(&BTreeSet<Digest>) -> S,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(), LoadError>
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let present = layers_present(engine, image)
        .await
        .map_err(LoadError::Engine)?;
    match load_archive(engine, archive(&present), progress).await {
        Err(LoadError::Refused(_)) if !present.is_empty() => {
            load_archive(engine, archive(&BTreeSet::new()), progress).await
        }
        loaded => loaded,
    }
}

/// Which of an image's lowest layers the engine can take from an image of ours that it has. A layer counts only with
/// all layers below it: engines know layers by what they lie on.
pub async fn layers_present(
    engine: &Engine,
    image: Loadable<'_>,
) -> Result<BTreeSet<Digest>, DockerError> {
    let diff_ids = image.diff_ids;
    if diff_ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let filters = HashMap::from([("label", vec![INPUTS_LABEL])]);
    let options = ListImagesOptionsBuilder::new().filters(&filters).build();
    let (wants_all, images) = future::try_join(
        keeps_archives(engine),
        engine.docker().list_images(Some(options)),
    )
    .await?;
    if wants_all {
        return Ok(BTreeSet::new());
    }
    let wanted: Vec<String> = diff_ids.iter().map(ToString::to_string).collect();
    let mut shared = futures_util::stream::iter(candidates(images, image.name))
        .map(|id| common(engine, id, &wanted))
        .buffer_unordered(AT_ONCE);
    let mut most = 0;
    while let Some(count) = shared.next().await {
        most = most.max(count?);
        if most == diff_ids.len() {
            break;
        }
    }
    Ok(diff_ids[..most].iter().cloned().collect())
}

/// Ids of images that may have layers of the one that is to be called `name`.
fn candidates(images: Vec<ImageSummary>, name: &str) -> Vec<String> {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let mut chosen = Vec::new();
    for image in images {
        let names = image.repo_tags.iter();
        let Some(other) = names.map(|name| repository(name)).next() else {
            continue;
        };
        let limit = match other == repository(name) {
            true => OF_THE_SAME,
            false => OF_EACH_OTHER,
        };
        let count = found.entry(other.to_owned()).or_default();
        *count += 1;
        if *count <= limit {
            chosen.push(image.id);
        }
    }
    chosen
}

/// A reference without its tag.
fn repository(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// The containerd image store keeps what was loaded as it was, so it wants everything.
async fn keeps_archives(engine: &Engine) -> Result<bool, DockerError> {
    let info = engine.docker().info().await?;
    let status = info.driver_status.unwrap_or_default();
    Ok(status
        .iter()
        .flatten()
        .any(|text| text.starts_with("io.containerd.snapshotter")))
}

/// How many layers an image has in common with `wanted`, from the lowest on.
async fn common(engine: &Engine, id: String, wanted: &[String]) -> Result<usize, DockerError> {
    let image = match engine.docker().inspect_image(&id).await {
        // It was removed meanwhile.
        Err(DockerError::DockerResponseServerError {
            status_code: 404, ..
        }) => return Ok(0),
        image => image?,
    };
    let layers = image.root_fs.and_then(|root| root.layers);
    Ok(layers
        .iter()
        .flatten()
        .zip(wanted)
        .take_while(|(has, wants)| has == wants)
        .count())
}

/// Keeps the error that ends an archive: hyper tells only that the body broke.
fn watched<S>(
    archive: S,
) -> (
    impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    impl FnOnce() -> Option<io::Error>,
)
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let (sender, receiver) = std::sync::mpsc::channel();
    let watched = archive.map(move |piece| {
        piece.map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            // Nobody listens any more: then the load has ended already.
            sender.send(error).ok();
            told
        })
    });
    (watched, move || receiver.try_recv().ok())
}

fn told(info: &BuildInfo) -> Option<String> {
    let detail = info.progress_detail.as_ref()?;
    let (current, total) = (detail.current?, detail.total?);
    let megabytes = |bytes: i64| bytes as f64 / 1e6;
    (total > 0).then(|| {
        format!(
            "loading {:.1} of {:.1} MB",
            megabytes(current),
            megabytes(total)
        )
    })
}

fn refused(error: DockerError) -> LoadError {
    let message = match error {
        DockerError::DockerStreamError { error } => error,
        DockerError::DockerResponseServerError { message, .. } => message,
        error => return LoadError::Engine(error),
    };
    if message.contains("no space left on device") {
        LoadError::NoSpace
    } else {
        LoadError::Refused(message)
    }
}

impl Explain for LoadError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let error = Diagnostic::error(LOAD, self.to_string());
        vec![match self {
            Self::NoSpace => error
                .hint("`docker system df` shows what takes it; `docker image prune` and `docker builder prune` free some"),
            Self::Refused(_) => error,
            Self::Archive(source) => error.caused_by(source),
            Self::Engine(source) => error.caused_by(source),
        }]
    }
}

#[cfg(test)]
mod tests;
