//! `stackctl deploy`: what was built goes into the cluster.

use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::{self, Cluster};
use crate::delivery::{self, Route};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::image::{BuildOutcome, BuildReport, BuiltImage, ImageSpec};
use crate::settings::Place;

use super::build::{Way, deliver_images, is_external, reference, way};
use super::connect::connect;
use super::prepare::{Desired, desired_with};
use super::rollout::{Request, dry_run, roll_out};
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
    /// Whether fields and objects of others become ours.
    pub take_over: bool,
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
    cluster::check_sources(&desired.stack)?;
    let cluster = connect(&desired.stack, place, env).await?;
    if settings.dry_run {
        let rolled_out =
            dry_run(request(&desired, place, &cluster, settings.take_over), env).await?;
        return Ok(Outcome::Planned(rolled_out.plan));
    }
    deliver_built(&desired, place, &cluster, env).await?;
    let rolled_out = roll_out(request(&desired, place, &cluster, settings.take_over), env).await?;
    Ok(Outcome::Deployed(rolled_out))
}

/// The chosen objects, on their way to a cluster.
pub(super) fn request<'a>(
    desired: &'a Desired,
    place: &'a Place,
    cluster: &'a Cluster,
    take_over: bool,
) -> Request<'a> {
    Request {
        stack: &desired.stack,
        desired: &desired.objects,
        place,
        cluster,
        take_over,
    }
}

/// Brings to the cluster what was built before; refuses where anything was not.
async fn deliver_built(
    desired: &Desired,
    place: &Place,
    cluster: &Cluster,
    env: &Env,
) -> Result<(), CommandError> {
    let specs = desired.chosen_images(place);
    let Some(way) = way(&desired.stack, &specs, cluster).await? else {
        return Ok(());
    };
    let (mut built, mut missing) = (BuildReport::default(), Vec::new());
    for (service, spec) in specs.into_iter().filter(|(_, spec)| !is_external(spec)) {
        let id = way
            .engine
            .image_id(&spec.reference)
            .await
            .map_err(|error| engine_error(&error))?;
        if id.is_some() {
            let outcome = BuildOutcome::Cached;
            let image = BuiltImage {
                reference: spec.reference,
                id,
                outcome,
                elapsed: Duration::ZERO,
            };
            built.images.insert(service, image);
        } else if !is_pushed(&spec, &way).await? {
            missing.push(spec);
        }
    }
    if !missing.is_empty() {
        return Err(not_built(&missing, place));
    }
    deliver_images(&way, &built, env).await
}

/// Whether an image that is not on this machine is where the cluster pulls from.
async fn is_pushed(spec: &ImageSpec, way: &Way) -> Result<bool, CommandError> {
    match way.route {
        Route::Registry(_) => {
            let reference = reference(&spec.reference)?;
            Ok(delivery::find_in_registry(&spec.service, &reference)
                .await?
                .is_some())
        }
        _ => Ok(false),
    }
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

fn engine_error(error: &bollard::errors::Error) -> CommandError {
    let problem = Diagnostic::error(ENGINE, "the Docker engine does not say which images it has")
        .caused_by(error);
    CommandError {
        exit: Exit::Failed,
        diagnostics: vec![problem],
    }
}
