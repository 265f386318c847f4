//! `stackctl deploy`: what was built goes into the cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::delivery::{self, Route};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::image::{Engine, ImageSpec};
use crate::settings::Place;

use super::build::{is_external, way};
use super::connect::connect;
use super::prepare::{Desired, desired_with};
use super::rollout::{dry_run, roll_out};
use super::{CommandError, Env, Outcome};

/// An image was not built yet.
const NOT_BUILT: Code = Code::new("S0510");
/// The engine does not answer a question.
const ENGINE: Code = Code::new("S0511");

/// How `deploy` works.
#[derive(Clone, Debug)]
pub struct DeploySettings {
    /// Only show what would change.
    pub dry_run: bool,
    /// Which images belong to the services; none: those with the computed tags.
    pub images: Option<PathBuf>,
}

/// Deploys without building; what is built here and not there yet is delivered.
pub async fn deploy(
    place: &Place,
    settings: &DeploySettings,
    env: &Env,
) -> Result<Outcome, CommandError> {
    let desired = desired_with(place, settings.images.as_deref(), env)?;
    let cluster = connect(&desired.stack, place, env).await?;
    if settings.dry_run {
        let rolled_out = dry_run(&desired.stack, desired.chosen(place), &cluster, env).await?;
        return Ok(Outcome::Planned(rolled_out.plan));
    }
    if settings.images.is_none() {
        deliver_built(&desired, place, &cluster, env).await?;
    }
    let rolled_out = roll_out(&desired.stack, desired.chosen(place), &cluster, env).await?;
    Ok(Outcome::Deployed(rolled_out))
}

/// Brings to the cluster what was built before; refuses where anything was not.
async fn deliver_built(
    desired: &Desired,
    place: &Place,
    cluster: &Cluster,
    env: &Env,
) -> Result<(), CommandError> {
    let specs = desired.chosen_images(place);
    let Some((route, facts)) = way(&desired.stack, &specs, cluster).await? else {
        return Ok(());
    };
    let engine = Engine::connect().await?;
    let (mut here, mut missing) = (BTreeMap::new(), Vec::new());
    for (service, spec) in specs.into_iter().filter(|(_, spec)| !is_external(spec)) {
        if engine
            .image_id(&spec.reference)
            .await
            .map_err(engine_error)?
            .is_some()
        {
            here.insert(service, spec.reference);
        } else if route != Route::Registry
            || !delivery::is_in_registry(&spec.reference, &engine).await?
        {
            missing.push(spec);
        }
    }
    if !missing.is_empty() {
        return Err(not_built(&missing, place));
    }
    delivery::deliver(
        &route,
        &here,
        &facts,
        &engine,
        env.events.as_ref(),
        &env.cancel,
    )
    .await?;
    Ok(())
}

fn not_built(missing: &[ImageSpec], place: &Place) -> CommandError {
    let names: Vec<String> = missing
        .iter()
        .map(|spec| spec.service.to_string())
        .collect();
    let mut problem = Diagnostic::error(NOT_BUILT, format!("not built yet: {}", names.join(", ")));
    for spec in missing {
        problem = problem.note(spec.reference.clone());
    }
    let hint = format!(
        "`stackctl build {0}` builds them, `stackctl up {0}` builds and deploys",
        place.environment
    );
    CommandError {
        exit: Exit::BadInput,
        diagnostics: vec![problem.note("nothing was applied").hint(hint)],
    }
}

fn engine_error(error: bollard::errors::Error) -> CommandError {
    let problem = Diagnostic::error(ENGINE, "the Docker engine does not say which images it has")
        .caused_by(&error);
    CommandError {
        exit: Exit::Failed,
        diagnostics: vec![problem],
    }
}
