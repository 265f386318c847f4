//! Building the images that are missing: one run of cargo for all cargo services, everything else beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::{self, BoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use oci_image::{Descriptor, Reference};
use tokio_util::sync::CancellationToken;

use crate::diagnostic::{Code, Diagnostic};
use crate::event::{Event, EventSink, Phase, TaskOutcome};
use crate::stack::{Build, ServiceName, Stack};
use crate::timings::Timings;

use super::build_error::BuildError;
use super::docker::engine::Engine;
use super::explain::{self, Reason};
use super::progress::Task;
use super::report::{BuildOutcome, BuildReport, BuiltImage, Held};
use super::spec::{ImageSpec, specs};
use super::state_folder::StateFolder;
use super::store::Store;
use super::{in_engine, native, with_docker};

/// What was not tidied up.
const GARBAGE: Code = Code::new("S0420");

/// What a build works with.
#[derive(Clone, Copy)]
pub struct BuildContext<'a> {
    /// Where images are assembled and kept.
    pub store: &'a Store,
    /// Where Dockerfiles and commands are built; needed only for those, and where it assembles the others.
    pub engine: Option<&'a Engine>,
    /// Images that need not be made here: the registry that they are meant for has them, under these references.
    pub in_registry: &'a BTreeMap<ServiceName, Reference>,
    /// What measures it.
    pub timings: &'a Timings,
    /// Who hears what happens.
    pub events: &'a dyn EventSink,
    /// Ends the build and every program it runs.
    pub cancel: &'a CancellationToken,
    /// The choices of the user.
    pub options: BuildOptions,
}

/// The choices of the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Whether the compiler's diagnostics have colours.
    pub color: bool,
    /// `SOURCE_DATE_EPOCH`: the time of images and of what is in them, in seconds since 1970. It is no input: a
    /// tag does not depend on it.
    pub created: u64,
    /// Whether the engine assembles what is made ready here.
    pub with_docker: bool,
}

/// One image that is built on its own.
pub(crate) struct Job<'a> {
    /// The repository.
    pub stack: &'a Stack,
    /// The image.
    pub spec: &'a ImageSpec,
    /// Where it is built.
    pub engine: &'a Engine,
    /// Who hears about it.
    pub task: &'a Task<'a>,
    /// Ends it.
    pub cancel: &'a CancellationToken,
}

pub(crate) type Built = Vec<(ServiceName, BuiltImage)>;

/// Builds the images of `specs` that are neither in the store nor in the engine. The first failure ends the others.
pub async fn build(
    stack: &Stack,
    specs: &BTreeMap<ServiceName, ImageSpec>,
    context: &BuildContext<'_>,
) -> Result<BuildReport, BuildError> {
    let started = Instant::now();
    context.events.emit(Event::PhaseStarted(Phase::Build));
    let cancel = context.cancel.child_token();
    let session = Session {
        stack,
        context: BuildContext {
            cancel: &cancel,
            ..*context
        },
        state: StateFolder::of(&stack.root),
    };
    let mut report = session.run(specs).await?;
    if context.options.with_docker {
        with_docker::assemble(&session, specs, &mut report).await?;
    }
    session.collect_garbage();
    context.events.emit(Event::PhaseFinished {
        phase: Phase::Build,
        summary: report.summary(),
        elapsed: started.elapsed(),
    });
    Ok(report)
}

/// One call of `build`.
pub(crate) struct Session<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) context: BuildContext<'a>,
    state: StateFolder,
}

impl Session<'_> {
    async fn run(
        &self,
        specs: &BTreeMap<ServiceName, ImageSpec>,
    ) -> Result<BuildReport, BuildError> {
        let mut report = BuildReport::default();
        let missing = tokio::select! {
            missing = self.cached(specs.values().collect(), &mut report) => missing?,
            () = self.context.cancel.cancelled() => return Err(BuildError::Interrupted),
        };
        let mut cargo = Vec::new();
        let mut running: FuturesUnordered<BoxFuture<'_, Result<Built, BuildError>>> =
            FuturesUnordered::new();
        for spec in missing {
            match &spec.build {
                Build::Native(build) if build.cargo.is_some() => cargo.push(spec),
                Build::Native(build) => running.push(native::build(self, spec, build).boxed()),
                Build::Dockerfile(_) | Build::Command(_) => {
                    running.push(in_engine::build(self, spec).boxed())
                }
                Build::Image { .. } => {}
            }
        }
        if !cargo.is_empty() {
            running.push(native::build_with_cargo(self, cargo).boxed());
        }
        let mut failure = None;
        while let Some(ended) = running.next().await {
            match ended {
                Ok(built) => report.images.extend(built),
                Err(error) if failure.is_none() => {
                    failure = Some(error);
                    self.context.cancel.cancel();
                }
                // It was interrupted by the first failure.
                Err(_) => {}
            }
        }
        failure.map_or(Ok(report), Err)
    }

    /// Puts what is there already into `report` and returns what is not.
    pub(crate) async fn cached<'s>(
        &self,
        specs: Vec<&'s ImageSpec>,
        report: &mut BuildReport,
    ) -> Result<Vec<&'s ImageSpec>, BuildError> {
        let found = future::try_join_all(specs.iter().map(|spec| self.find(spec))).await?;
        let mut missing = Vec::new();
        for (spec, image) in specs.into_iter().zip(found) {
            match image {
                Some(image) => {
                    let detail = match (image.outcome, &image.held) {
                        (BuildOutcome::External, _) => "from a registry",
                        (_, Held::Elsewhere) => "in the registry",
                        _ => "cached",
                    };
                    self.task(spec).finish(TaskOutcome::Unchanged, detail);
                    report.images.insert(spec.service.clone(), image);
                }
                None => missing.push(spec),
            }
        }
        Ok(missing)
    }

    async fn find(&self, spec: &ImageSpec) -> Result<Option<BuiltImage>, BuildError> {
        let started = Instant::now();
        let held = in_engine::find_built(spec, self.context.store, self.context.engine).await?;
        let pinned = self.context.in_registry.get(&spec.service);
        Ok(match (held, pinned) {
            (Some(held), _) => {
                let outcome = match held {
                    Held::Elsewhere => BuildOutcome::External,
                    _ => BuildOutcome::Cached,
                };
                Some(self.image(spec, held, outcome, started.elapsed()))
            }
            (None, Some(pinned)) => Some(BuiltImage::cached(pinned.to_string(), Held::Elsewhere)),
            (None, None) => None,
        })
    }

    /// A tag promises what an image is made from: what was edited meanwhile must not get it.
    pub(crate) fn check_unchanged(&self, built: &[&ImageSpec]) -> Result<(), BuildError> {
        let names: Vec<ServiceName> = built.iter().map(|spec| spec.service.clone()).collect();
        let now = specs(self.stack, Some(&names))?;
        for spec in built {
            let found = spec.inputs.changed(&now[&spec.service].inputs);
            if !found.is_empty() {
                let found = found.into_iter().map(str::to_owned);
                return Err(changed(spec, found.collect()));
            }
        }
        Ok(())
    }

    pub(crate) fn task(&self, spec: &ImageSpec) -> Task<'_> {
        Task::start(self.context.events, Phase::Build, spec.service.as_str())
    }

    /// Why an image that is about to be built is not there.
    pub(crate) fn reason(&self, spec: &ImageSpec) -> Reason {
        explain::reason(&self.state, &spec.service, &spec.inputs)
    }

    /// An image that was assembled here gets its name: only now can anybody find it.
    pub(crate) fn keep(&self, spec: &ImageSpec, image: &Descriptor) -> Result<Held, BuildError> {
        self.context.store.keep(spec, image)?;
        Ok(Held::Store(image.clone()))
    }

    pub(crate) fn done(
        &self,
        spec: &ImageSpec,
        held: Held,
        reason: Reason,
        task: Task<'_>,
    ) -> (ServiceName, BuiltImage) {
        explain::remember(&self.state, &spec.service, &spec.inputs);
        let mut image = self.image(spec, held, BuildOutcome::Built, task.elapsed());
        image.reason = Some(reason);
        task.finish(TaskOutcome::Done, "");
        (spec.service.clone(), image)
    }

    fn image(
        &self,
        spec: &ImageSpec,
        held: Held,
        outcome: BuildOutcome,
        elapsed: Duration,
    ) -> BuiltImage {
        BuiltImage {
            reference: spec.reference.clone(),
            held,
            outcome,
            reason: None,
            elapsed,
        }
    }

    /// Failing at this is no reason to fail.
    fn collect_garbage(&self) {
        if let Err(error) = self.context.store.collect_garbage() {
            let warning =
                Diagnostic::warning(GARBAGE, "old images could not be removed from the store")
                    .caused_by(&error);
            self.context.events.emit(Event::Warning(warning));
        }
    }
}

/// These files of `spec` were written while it was made. What was edited and restored is the same as before, but what
/// was made of it may not be.
pub(crate) fn changed_meanwhile(spec: &ImageSpec, touched: &BTreeSet<PathBuf>) -> BuildError {
    let named = |file: &PathBuf| format!("file {}", file.display());
    changed(spec, touched.iter().map(named).collect())
}

fn changed(spec: &ImageSpec, changed: Vec<String>) -> BuildError {
    BuildError::SourcesChanged {
        service: spec.service.clone(),
        changed,
        by_command: matches!(spec.build, Build::Command(_)),
    }
}
