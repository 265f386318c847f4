//! `stackctl build`: the images that are missing, and where they are to go.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use tempfile::NamedTempFile;

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
    let images = images.transpose()?;
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
    if let Some(images) = images {
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

/// Where the images are written to once they are there. That it can be is found out before anything is built;
/// until then a file keeps what it held, and one that is not there stays so.
struct ImagesFile<'a> {
    path: &'a Path,
    place: ImagesPlace,
}

enum ImagesPlace {
    /// A file, a terminal or the like.
    Open(File),
    /// Gets the name at the end; is gone when it is dropped before.
    New(NamedTempFile),
    /// Opening it waits for who reads it.
    Pipe,
}

impl<'a> ImagesFile<'a> {
    fn open(path: &'a Path) -> Result<Self, CommandError> {
        let place = match fs::metadata(path) {
            Ok(metadata) if metadata.file_type().is_fifo() => Ok(ImagesPlace::Pipe),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                new_beside(path).map(ImagesPlace::New)
            }
            _ => open_to_write(path).map(ImagesPlace::Open),
        };
        match place {
            Ok(place) => Ok(Self { path, place }),
            Err(error) => Err(unwritable(path, Exit::BadInput, error)),
        }
    }

    fn write(self, report: &BuildReport) -> Result<(), CommandError> {
        let text = report.to_json();
        let written = match self.place {
            ImagesPlace::Open(file) => overwrite(file, &text),
            ImagesPlace::New(mut file) => file
                .write_all(text.as_bytes())
                .and_then(|()| file.persist(self.path).map_err(|error| error.error))
                .map(drop),
            ImagesPlace::Pipe => {
                open_to_write(self.path).and_then(|mut pipe| pipe.write_all(text.as_bytes()))
            }
        };
        written.map_err(|error| unwritable(self.path, Exit::Failed, error))
    }
}

fn open_to_write(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

fn new_beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new();
    // As any new file: the umask takes away what it says.
    file.permissions(Permissions::from_mode(0o666));
    file.tempfile_in(folder)
}

fn overwrite(mut file: File, text: &str) -> io::Result<()> {
    // Not every file has a length: a terminal has none.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(text.as_bytes())
}

fn unwritable(file: &Path, exit: Exit, cause: io::Error) -> CommandError {
    let message = format!("failed to write {}", file.display());
    CommandError {
        exit,
        diagnostics: vec![Diagnostic::error(UNWRITABLE, message).caused_by(&cause)],
    }
}
