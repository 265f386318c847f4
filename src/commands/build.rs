//! `stackctl build`: the images that are missing, and how they get to the cluster.

use std::collections::BTreeMap;
use std::path::Path;

use oci_image::{InvalidReference, Platform, Reference};

use crate::cluster::Cluster;
use crate::delivery::{self, ClusterFacts, Delivery, DeliveryContext, Route, Source};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::image::{
    self, BuildContext, BuildOptions, BuildOutcome, BuildReport, BuiltImage, Engine, ImageSpec,
};
use crate::settings::Place;
use crate::stack::{Build, ServiceName, Stack};

use super::connect::facts;
use super::{CommandError, Env, Outcome};

/// The file of `--images` cannot be written.
const UNWRITABLE: Code = Code::new("S0430");
/// An images file names an image that no registry could have.
const NO_REFERENCE: Code = Code::new("S0534");

/// Builds the images of the chosen services.
pub async fn build(
    place: &Place,
    images_file: Option<&Path>,
    env: &Env,
) -> Result<Outcome, CommandError> {
    let stack = place.load()?;
    let only = (!place.services.is_empty()).then_some(place.services.as_slice());
    let specs = image::specs(&stack, only)?;
    let engine = engine_for(&specs).await?;
    let report = build_images(&stack, &specs, engine.as_ref(), env).await?;
    if let Some(file) = images_file {
        std::fs::write(file, report.to_json()).map_err(|error| CommandError {
            exit: Exit::Failed,
            diagnostics: vec![Diagnostic::error(
                UNWRITABLE,
                format!("{} cannot be written: {error}", file.display()),
            )],
        })?;
    }
    Ok(Outcome::Built(report))
}

/// The engine, where any of the images is built at all.
pub(super) async fn engine_for(
    specs: &BTreeMap<ServiceName, ImageSpec>,
) -> Result<Option<Engine>, CommandError> {
    if specs.values().all(is_external) {
        return Ok(None);
    }
    Ok(Some(Engine::connect().await?))
}

/// Whether an image comes from elsewhere as it is.
pub(super) fn is_external(spec: &ImageSpec) -> bool {
    matches!(spec.build, Build::Image { .. })
}

/// Builds what the engine lacks.
pub(super) async fn build_images(
    stack: &Stack,
    specs: &BTreeMap<ServiceName, ImageSpec>,
    engine: Option<&Engine>,
    env: &Env,
) -> Result<BuildReport, CommandError> {
    let Some(engine) = engine else {
        return Ok(BuildReport {
            images: specs
                .iter()
                .map(|(service, spec)| (service.clone(), external(spec)))
                .collect(),
        });
    };
    let context = BuildContext {
        engine,
        events: env.events.as_ref(),
        cancel: &env.cancel,
        options: BuildOptions {
            color: env.color,
            created: source_date_epoch(),
        },
    };
    Ok(image::build(stack, specs, &context).await?)
}

fn external(spec: &ImageSpec) -> BuiltImage {
    BuiltImage {
        reference: spec.reference.clone(),
        id: None,
        outcome: BuildOutcome::External,
        elapsed: std::time::Duration::ZERO,
    }
}

/// <https://reproducible-builds.org/specs/source-date-epoch/>
fn source_date_epoch() -> u64 {
    std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// The engine with the images, and how they get from there into a cluster.
pub(super) struct Way {
    pub(super) engine: Engine,
    pub(super) route: Route,
    facts: ClusterFacts,
}

/// The way for the images of `specs`; none where none of them is built here.
pub(super) async fn way(
    stack: &Stack,
    specs: &BTreeMap<ServiceName, ImageSpec>,
    cluster: &Cluster,
) -> Result<Option<Way>, CommandError> {
    let Some(engine) = engine_for(specs).await? else {
        return Ok(None);
    };
    let facts = facts(cluster).await?;
    let route = delivery::route(
        &facts,
        &delivery::engine_facts(&engine).await?,
        stack.environment.registry.as_ref(),
    )?;
    Ok(Some(Way {
        engine,
        route,
        facts,
    }))
}

/// Brings what was built here to where the cluster finds it.
pub(super) async fn deliver_images(
    way: &Way,
    built: &BuildReport,
    env: &Env,
) -> Result<(), CommandError> {
    if way.route == Route::SharedEngine {
        return Ok(());
    }
    let images = deliveries(built)?;
    let context = DeliveryContext {
        engine: Some(&way.engine),
        cluster: &way.facts,
        events: env.events.as_ref(),
        cancel: &env.cancel,
    };
    delivery::deliver(&images, &way.route, &context).await?;
    Ok(())
}

/// The images of `built` that are in the engine.
fn deliveries(built: &BuildReport) -> Result<Vec<Delivery>, CommandError> {
    let ours = built
        .images
        .iter()
        .filter(|(_, image)| image.outcome != BuildOutcome::External);
    ours.map(|(service, image)| {
        Ok(Delivery {
            service: service.clone(),
            reference: reference(&image.reference)?,
            source: Source::Engine {
                reference: image.reference.clone(),
                id: image.id.clone().unwrap_or_default(),
            },
            platform: Platform::linux("amd64"),
        })
    })
    .collect()
}

/// Made by us from a checked prefix and name; an images file may hold something else.
pub(super) fn reference(text: &str) -> Result<Reference, CommandError> {
    text.parse()
        .map_err(|error: InvalidReference| CommandError {
            exit: Exit::BadInput,
            diagnostics: vec![Diagnostic::error(NO_REFERENCE, error.to_string())],
        })
}
