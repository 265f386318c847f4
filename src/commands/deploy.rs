//! `stackctl deploy`: what was built goes into the cluster.

use std::path::PathBuf;

use crate::cluster::{self, Cluster};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::image::{BuildError, BuildReport, BuiltImage, Engine, Held, ImageSpec};
use crate::settings::Place;

use super::attach::Shipment;
use super::connect::connect;
use super::prepare::{Desired, desired_with};
use super::rollout::{Request, dry_run, roll_out};
use super::workshop::{Workshop, in_registry, is_external};
use super::{CommandError, Env, Outcome};

/// An image was not built yet.
const NOT_BUILT: Code = Code::new("S0510");

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
    let mut desired = desired_with(place, settings.images.as_deref(), env)?;
    cluster::check_sources(&desired.stack)?;
    let cluster = connect(&desired.stack, place, env).await?;
    if settings.dry_run {
        let rolled_out =
            dry_run(request(&desired, place, &cluster, settings.take_over), env).await?;
        return Ok(Outcome::Planned(rolled_out.plan));
    }
    deliver_built(&mut desired, place, &cluster, env).await?;
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
    desired: &mut Desired,
    place: &Place,
    cluster: &Cluster,
    env: &Env,
) -> Result<(), CommandError> {
    let mut specs = desired.chosen_images(place);
    let workshop = Workshop::for_cluster(&specs, &desired.stack).await?;
    let Some(way) = workshop.way(&desired.stack, &specs, cluster).await? else {
        return Ok(());
    };
    let (mut built, mut absent) = (BuildReport::default(), Vec::new());
    for (service, spec) in specs.iter().filter(|(_, spec)| !is_external(spec)) {
        let here = match desired.named.get(service) {
            Some(image) => still_here(image, &workshop).await?,
            None => workshop
                .find(spec)
                .await?
                .map(|held| BuiltImage::cached(spec.reference.clone(), held)),
        };
        match here {
            Some(image) => {
                built.images.insert(service.clone(), image);
            }
            None => absent.push(spec),
        }
    }
    for (service, pinned) in in_registry(&absent, &way.route, env).await? {
        absent.retain(|spec| spec.service != service);
        let image = BuiltImage::cached(pinned.to_string(), Held::Elsewhere);
        built.images.insert(service, image);
    }
    if !absent.is_empty() {
        return Err(not_built(&absent, place));
    }
    let delivered = workshop.deliver(&way, &mut built, env).await?;
    // Of another version's image these sources say nothing.
    specs.retain(|service, spec| match desired.named.get(service) {
        Some(image) => tag_of(image).ends_with(&format!(":{}", spec.inputs.digest())),
        None => true,
    });
    let shipment = Shipment::to_cluster(&desired.stack, &specs, &workshop.store, env);
    shipment.document(&built, Some(&delivered)).await?;
    desired.take_images(&built, env)
}

/// An image that a file names, if this machine has that very one. It goes by its tag; where it gets to tells the digest.
async fn still_here(
    image: &BuiltImage,
    workshop: &Workshop,
) -> Result<Option<BuiltImage>, CommandError> {
    let tag = tag_of(image);
    let held = match (&image.held, workshop.engine()) {
        (Held::Store(manifest), _) if workshop.store.layout().is_complete(manifest) => {
            Some(image.held.clone())
        }
        // The store keeps an image for some time only, and the tag is a digest as well.
        (Held::Store(_), Some(engine)) => in_engine(tag, engine).await?.map(Held::Engine),
        (Held::Engine(id), Some(engine)) => in_engine(tag, engine)
            .await?
            .filter(|found| found == id)
            .map(Held::Engine),
        (_, None) | (Held::Elsewhere, _) => None,
    };
    Ok(held.map(|held| BuiltImage::cached(tag.to_owned(), held)))
}

/// The reference without a digest.
fn tag_of(image: &BuiltImage) -> &str {
    let reference = &image.reference;
    reference.split_once('@').map_or(reference, |(tag, _)| tag)
}

async fn in_engine(tag: &str, engine: &Engine) -> Result<Option<String>, BuildError> {
    let found = engine.image_id(tag).await;
    found.map_err(BuildError::engine(format!("look for {tag}")))
}

fn not_built(missing: &[&ImageSpec], place: &Place) -> CommandError {
    let names: Vec<&str> = missing.iter().map(|spec| spec.service.as_str()).collect();
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
