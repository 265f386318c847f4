//! Images that the Docker engine builds or a command leaves there.

use std::collections::HashMap;

use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder};

use crate::stack::Build;
use crate::timings::Step;

use super::assemble::{INPUTS_LABEL, TITLE_LABEL};
use super::build::{Built, Job, Session};
use super::build_error::BuildError;
use super::docker::engine::Engine;
use super::report::Held;
use super::spec::ImageSpec;
use super::store::Store;
use super::{command, dockerfile};

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

/// The same image may be there for another registry: then it only needs another tag.
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
    let Some(found) = images.into_iter().next() else {
        return Ok(None);
    };
    tag(engine, &found.id, spec).await?;
    Ok(Some(found.id))
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
    let id = match &spec.build {
        Build::Dockerfile(build) => {
            let id = dockerfile::build(&job, build).await?;
            session.check_unchanged(&[spec])?;
            tag(engine, &id, spec).await?;
            id
        }
        Build::Command(build) => {
            let id = command::build(&job, build).await?;
            if let Err(changed) = session.check_unchanged(&[spec]) {
                untag(engine, spec).await?;
                return Err(changed);
            }
            id
        }
        Build::Native(_) | Build::Image { .. } => return Ok(Vec::new()),
    };
    Ok(vec![session.done(spec, Held::Engine(id), reason, task)])
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

async fn untag(engine: &Engine, spec: &ImageSpec) -> Result<(), BuildError> {
    let options = RemoveImageOptionsBuilder::new().noprune(true).build();
    let removed = engine
        .docker()
        .remove_image(&spec.reference, Some(options), None);
    removed
        .await
        .map(|_| ())
        .map_err(BuildError::engine(format!("remove {}", spec.reference)))
}
