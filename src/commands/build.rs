//! `stackctl build`: the images that are missing, and where they are to go.

use std::path::Path;

use crate::delivery::{Destination, Route};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::event::Event;
use crate::image::{self, BuildReport, Store};
use crate::settings::{BuildSettings, Place};
use crate::stack::Stack;
use crate::timings::Step;

use super::attach::{Shipment, Wanted};
use super::workshop::{Way, Workshop, is_external};
use super::{CommandError, Env, Outcome};

/// The file of `--images` cannot be written.
const UNWRITABLE: Code = Code::new("S0430");

/// What `build` did.
#[derive(Debug)]
pub struct Built {
    /// The images.
    pub report: BuildReport,
    /// Whether the user wants to know why each was built.
    pub explain: bool,
}

/// Builds the images of the chosen services.
pub async fn build(
    place: &Place,
    settings: &BuildSettings,
    env: &Env,
) -> Result<Outcome, CommandError> {
    let wanted = Wanted::new(settings)?;
    let stack = place.load()?;
    let only = (!place.services.is_empty()).then_some(place.services.as_slice());
    if settings.update_packages {
        image::update_packages(
            &stack,
            only,
            &Store::open()?,
            env.events.as_ref(),
            &env.cancel,
        )
        .await?;
    }
    let specs = {
        let _finding = env.timings.common(Step::Inputs);
        image::specs(&stack, only)?
    };
    let wants_engine = match settings.to {
        Some(ref to) => *to == Destination::Docker,
        None => !specs.values().all(is_external),
    };
    let mut workshop = Workshop::open(&specs, wants_engine || settings.with_docker).await?;
    if settings.with_docker {
        workshop = workshop.with_docker()?;
    }
    let route = route(&stack, settings, &workshop)?;
    // What is to be described or signed has to be here.
    let taken_from = route.as_ref().filter(|_| !wanted.any());
    let mut report = workshop.build(&stack, &specs, taken_from, env).await?;
    let delivered = match route {
        Some(route) => Some(workshop.deliver(&Way::to(route), &mut report, env).await?),
        None => None,
    };
    if delivered.is_none() && wants_engine {
        env.events.emit(Event::Note(format!(
            "no Docker engine answers: the images stay in {}; `--to` takes them elsewhere",
            workshop.store.layout().root().display()
        )));
    }
    let shipment = Shipment {
        stack: &stack,
        specs: &specs,
        store: &workshop.store,
        wanted: &wanted,
        env,
    };
    shipment.document(&report, delivered.as_ref()).await?;
    if let Some(file) = &settings.images {
        write_images(file, &report)?;
    }
    Ok(Outcome::Built(Built {
        report,
        explain: settings.explain,
    }))
}

/// Refused before anything is built.
fn route(
    stack: &Stack,
    settings: &BuildSettings,
    workshop: &Workshop,
) -> Result<Option<Route>, CommandError> {
    match &settings.to {
        Some(to) => {
            let environment = &stack.environment;
            let route = to.route(environment.name.as_str(), environment.registry.as_ref())?;
            if route == Route::Engine {
                workshop.require_engine()?;
            }
            Ok(Some(route))
        }
        None => Ok(workshop.engine().map(|_| Route::Engine)),
    }
}

fn write_images(file: &Path, report: &BuildReport) -> Result<(), CommandError> {
    std::fs::write(file, report.to_json()).map_err(|error| CommandError {
        exit: Exit::Failed,
        diagnostics: vec![Diagnostic::error(
            UNWRITABLE,
            format!("{} cannot be written: {error}", file.display()),
        )],
    })
}
