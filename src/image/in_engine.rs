//! Images that the Docker engine builds or a command leaves there.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::query_parameters::{
    ListImagesOptions, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use uuid::Uuid;

use crate::stack::{Build, CommandBuild};
use crate::timings::Step;

use super::assemble::{INPUTS_LABEL, TITLE_LABEL};
use super::build::{Built, Job, Session, changed_meanwhile};
use super::build_error::BuildError;
use super::docker::engine::Engine;
use super::report::Held;
use super::snapshot::{self, Snapshot};
use super::spec::ImageSpec;
use super::store::Store;
use super::{command, dockerfile};

/// Between the tag of an image and a run of the command that may make it.
const UNFINISHED: &str = "-unfinished-";
/// No command runs as long as this.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Where the image of `spec` is on this machine, if it is there.
pub async fn find_built(
    spec: &ImageSpec,
    store: &Store,
    engine: Option<&Engine>,
) -> Result<Option<Held>, BuildError> {
    Ok(match (&spec.build, engine) {
        (Build::Image { .. }, _) => Some(Held::Elsewhere),
        (Build::Native(_), _) => store.find(spec)?.map(Held::Store),
        (Build::Dockerfile(_) | Build::Command(_), Some(engine)) => {
            find(engine, spec).await?.map(Held::Engine)
        }
        (Build::Dockerfile(_) | Build::Command(_), None) => return Err(BuildError::NoEngine),
    })
}

/// The id of the image of `spec`, if the engine has it.
async fn find(engine: &Engine, spec: &ImageSpec) -> Result<Option<String>, BuildError> {
    let id = engine.image_id(&spec.reference).await;
    match id.map_err(BuildError::engine(format!("look for {}", spec.reference)))? {
        Some(id) => Ok(Some(id)),
        None => find_under_another_name(engine, spec).await,
    }
}

/// The same image may be there for another registry: then it only needs another tag. Its labels alone prove nothing.
/// They are given before a build ends, and whoever builds upon an image inherits them; its name is given last.
async fn find_under_another_name(
    engine: &Engine,
    spec: &ImageSpec,
) -> Result<Option<String>, BuildError> {
    let labels = vec![
        format!("{INPUTS_LABEL}={}", spec.inputs.digest()),
        format!("{TITLE_LABEL}={}", spec.service),
    ];
    let filters = HashMap::from([("label", labels)]);
    let options = ListImagesOptionsBuilder::new().filters(&filters).build();
    let images = engine.docker().list_images(Some(options)).await;
    let images = images.map_err(BuildError::engine("list its images"))?;
    let name = format!("/{}:{}", spec.service, spec.inputs.digest());
    let named = images.into_iter().flat_map(|image| {
        let tags = image.repo_tags.into_iter();
        tags.map(move |tag| (tag, image.id.clone()))
    });
    let Some((_, id)) = named.filter(|(tag, _)| tag.ends_with(&name)).min() else {
        return Ok(None);
    };
    tag(engine, &id, spec).await?;
    Ok(Some(id))
}

/// Builds a Dockerfile or runs a command.
pub(crate) async fn build(session: &Session<'_>, spec: &ImageSpec) -> Result<Built, BuildError> {
    let engine = engine(session)?;
    let task = session.task(spec);
    let reason = session.reason(spec);
    let _building = session
        .context
        .timings
        .span(spec.service.as_str(), Step::Build);
    let job = Job {
        stack: session.stack,
        spec,
        engine,
        task: &task,
        cancel: session.context.cancel,
    };
    let snapshot = Snapshot::of(&session.stack.root, snapshot::files(&spec.inputs));
    let id = match &spec.build {
        Build::Dockerfile(build) => {
            let id = dockerfile::build(&job, build).await?;
            accept(session, &job, &snapshot, &id).await?;
            id
        }
        Build::Command(build) => run(session, &job, &snapshot, build).await?,
        Build::Native(_) | Build::Image { .. } => return Ok(Vec::new()),
    };
    Ok(vec![session.done(spec, Held::Engine(id), reason, task)])
}

/// Runs a command under a name of its own: what a failed one left must not be found.
async fn run(
    session: &Session<'_>,
    job: &Job<'_>,
    snapshot: &Snapshot,
    build: &CommandBuild,
) -> Result<String, BuildError> {
    untag_leftovers(job.engine, job.spec).await;
    let name = unfinished(job.spec);
    let ended = match command::build(job, build, &name).await {
        Ok(id) => accept(session, job, snapshot, &id).await.map(|()| id),
        Err(error) => Err(error),
    };
    untag(job.engine, &name).await;
    ended
}

/// Gives an image its name, if it is made of what that name says.
async fn accept(
    session: &Session<'_>,
    job: &Job<'_>,
    snapshot: &Snapshot,
    id: &str,
) -> Result<(), BuildError> {
    session.check_unchanged(&[job.spec])?;
    let touched = snapshot.touched();
    if !touched.is_empty() {
        return Err(changed_meanwhile(job.spec, &touched));
    }
    tag(job.engine, id, job.spec).await
}

fn engine<'a>(session: &Session<'a>) -> Result<&'a Engine, BuildError> {
    session.context.engine.ok_or(BuildError::NoEngine)
}

async fn tag(engine: &Engine, id: &str, spec: &ImageSpec) -> Result<(), BuildError> {
    let tagged = engine.tag(id, &spec.reference);
    tagged.await.map_err(BuildError::engine(format!(
        "tag the image of {}",
        spec.service
    )))
}

/// The name under which a command leaves its image: the real one is given to what is known to be good.
fn unfinished(spec: &ImageSpec) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.unwrap_or_default().as_secs();
    let run = Uuid::new_v4().simple();
    format!("{}{UNFINISHED}{seconds}-{run}", spec.reference)
}

/// When a name of [`unfinished`] for the same repository was given, in seconds since 1970.
fn begun(name: &str, spec: &ImageSpec) -> Option<u64> {
    let (repository, _) = spec.reference.rsplit_once(':')?;
    let tag = name.strip_prefix(repository)?.strip_prefix(':')?;
    let (_, run) = tag.split_once(UNFINISHED)?;
    run.split_once('-')?.0.parse().ok()
}

/// Takes names away that killed commands left, as far as that is possible.
async fn untag_leftovers(engine: &Engine, spec: &ImageSpec) {
    let images = match engine.docker().list_images(None::<ListImagesOptions>).await {
        Ok(images) => images,
        Err(error) => return tracing::debug!(%error, "leftovers of commands stay"),
    };
    let abandoned = (SystemTime::now() - ABANDONED).duration_since(UNIX_EPOCH);
    let abandoned = abandoned.unwrap_or_default().as_secs();
    let names = images.into_iter().flat_map(|image| image.repo_tags);
    for name in names.filter(|name| begun(name, spec).is_some_and(|begun| begun < abandoned)) {
        untag(engine, &name).await;
    }
}

/// A name that stays harms nobody: it is not that of an image.
async fn untag(engine: &Engine, name: &str) {
    let options = RemoveImageOptionsBuilder::new().noprune(true).build();
    let removed = engine.docker().remove_image(name, Some(options), None);
    if let Err(error) = removed.await {
        tracing::debug!(%error, name, "not removed");
    }
}
