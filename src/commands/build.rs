//! `stackctl build`: the images that are missing, and where they are to go.

use std::fs::File;
use std::io::{self, Write};
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
    let images = settings.images.as_deref().map(ImagesFile::open);
    let mut images = images.transpose()?;
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
    if let Some(images) = &mut images {
        images.write(&report)?;
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

/// Where the images are written to: opened before anything is built, and what it held is kept until then.
struct ImagesFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> ImagesFile<'a> {
    fn open(path: &'a Path) -> Result<Self, CommandError> {
        let opened = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        match opened {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(unwritable(path, Exit::BadInput, error)),
        }
    }

    fn write(&mut self, report: &BuildReport) -> Result<(), CommandError> {
        // Not every file has a length: a pipe has none.
        let emptied = match self.file.metadata() {
            Ok(metadata) if metadata.is_file() => self.file.set_len(0),
            _ => Ok(()),
        };
        emptied
            .and_then(|()| self.file.write_all(report.to_json().as_bytes()))
            .map_err(|error| unwritable(self.path, Exit::Failed, error))
    }
}

fn unwritable(file: &Path, exit: Exit, cause: io::Error) -> CommandError {
    let message = format!("failed to write {}", file.display());
    CommandError {
        exit,
        diagnostics: vec![Diagnostic::error(UNWRITABLE, message).caused_by(&cause)],
    }
}
