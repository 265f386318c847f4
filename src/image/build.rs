//! Building the images that are missing: one run of cargo for all cargo services, everything else beside it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::time::{Duration, Instant};

use bollard::query_parameters::{
    ImportImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
    TagImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::future::{self, BoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::diagnostic::{Code, Diagnostic};
use crate::event::{Event, EventSink, Phase, TaskOutcome};
use crate::stack::{Build, CargoBuild, ServiceName, Stack};

use super::assemble::{self, INPUTS_LABEL};
use super::build_error::BuildError;
use super::cargo::{Compilation, Executable};
use super::elf;
use super::engine::Engine;
use super::progress::Task;
use super::report::{BuildOutcome, BuildReport, BuiltImage};
use super::spec::{ImageSpec, specs};
use super::state_folder::StateFolder;
use super::target::Target;
use super::{command, dockerfile};

/// A file that a binary is compiled from, but that its tag does not depend on.
const UNDECLARED: Code = Code::new("S0412");
/// Held from before cargo starts until its binaries are in the engine.
const LOCK: &str = "build.lock";
/// How often a lock is tried that another process holds.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// What a build works with.
#[derive(Clone, Copy)]
pub struct BuildContext<'a> {
    /// Where images are built and kept.
    pub engine: &'a Engine,
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

type Built = Vec<(ServiceName, BuiltImage)>;

/// Builds the images of `specs` that the engine does not have. The first failure ends the others.
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
        specs,
        context: BuildContext {
            cancel: &cancel,
            ..*context
        },
    };
    let report = session.run().await?;
    context.events.emit(Event::PhaseFinished {
        phase: Phase::Build,
        summary: report.summary(),
        elapsed: started.elapsed(),
    });
    Ok(report)
}

/// One call of `build`.
struct Session<'a> {
    stack: &'a Stack,
    specs: &'a BTreeMap<ServiceName, ImageSpec>,
    context: BuildContext<'a>,
}

impl Session<'_> {
    async fn run(&self) -> Result<BuildReport, BuildError> {
        let mut report = BuildReport::default();
        let missing = tokio::select! {
            missing = self.cached(self.specs.values().collect(), &mut report) => missing?,
            () = self.context.cancel.cancelled() => return Err(BuildError::Interrupted),
        };
        let (cargo, others): (Vec<&ImageSpec>, Vec<&ImageSpec>) = missing
            .into_iter()
            .partition(|spec| matches!(spec.build, Build::Cargo(_)));
        let mut running: FuturesUnordered<BoxFuture<'_, Result<Built, BuildError>>> = others
            .into_iter()
            .map(|spec| self.other(spec).boxed())
            .collect();
        if !cargo.is_empty() {
            running.push(self.cargo(cargo).boxed());
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
    async fn cached<'s>(
        &self,
        specs: Vec<&'s ImageSpec>,
        report: &mut BuildReport,
    ) -> Result<Vec<&'s ImageSpec>, BuildError> {
        let found = future::try_join_all(specs.iter().map(|spec| self.find(spec))).await?;
        let mut missing = Vec::new();
        for (spec, image) in specs.into_iter().zip(found) {
            match image {
                Some(image) => {
                    let detail = match image.outcome {
                        BuildOutcome::External => "from a registry",
                        _ => "cached",
                    };
                    self.task(spec).finish(TaskOutcome::Unchanged, detail);
                    report.images.insert(spec.service.clone(), image);
                }
                None => missing.push(spec),
            }
        }
        self.under_other_names(missing, report).await
    }

    async fn find(&self, spec: &ImageSpec) -> Result<Option<BuiltImage>, BuildError> {
        let started = Instant::now();
        let image = |id, outcome| BuiltImage {
            reference: spec.reference.clone(),
            id,
            outcome,
            elapsed: started.elapsed(),
        };
        if let Build::Image { .. } = spec.build {
            return Ok(Some(image(None, BuildOutcome::External)));
        }
        let id = self.image_id(spec).await?;
        Ok(id.map(|id| image(Some(id), BuildOutcome::Cached)))
    }

    /// The same image may be there for another registry: then it only needs another tag.
    async fn under_other_names<'s>(
        &self,
        specs: Vec<&'s ImageSpec>,
        report: &mut BuildReport,
    ) -> Result<Vec<&'s ImageSpec>, BuildError> {
        if specs.is_empty() {
            return Ok(specs);
        }
        let known = self.images_by_inputs().await?;
        let mut missing = Vec::new();
        for spec in specs {
            let Some(id) = known.get(&(spec.service.to_string(), spec.inputs.digest().to_string()))
            else {
                missing.push(spec);
                continue;
            };
            let task = self.task(spec);
            self.tag(id, spec).await?;
            let image = self.done(spec, id.clone(), BuildOutcome::Cached, &task);
            report.images.extend([image]);
            task.finish(TaskOutcome::Unchanged, "cached");
        }
        Ok(missing)
    }

    /// Ids of our images by (service, digest of the inputs).
    async fn images_by_inputs(&self) -> Result<HashMap<(String, String), String>, BuildError> {
        let filters = HashMap::from([("label", vec![INPUTS_LABEL])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let images = self.context.engine.docker().list_images(Some(options));
        let images = images
            .await
            .map_err(BuildError::engine("list its images"))?;
        Ok(images
            .into_iter()
            .filter_map(|image| {
                let label = |name: &str| image.labels.get(name).cloned();
                let key = (
                    label("org.opencontainers.image.title")?,
                    label(INPUTS_LABEL)?,
                );
                Some((key, image.id))
            })
            .collect())
    }

    /// A Dockerfile or a command.
    async fn other(&self, spec: &ImageSpec) -> Result<Built, BuildError> {
        let task = self.task(spec);
        let job = Job {
            stack: self.stack,
            spec,
            engine: self.context.engine,
            task: &task,
            cancel: self.context.cancel,
        };
        let id = match &spec.build {
            Build::Dockerfile(build) => {
                let id = dockerfile::build(&job, build).await?;
                self.check_unchanged(&[spec])?;
                self.tag(&id, spec).await?;
                id
            }
            Build::Command(build) => {
                let id = command::build(&job, build).await?;
                if let Err(changed) = self.check_unchanged(&[spec]) {
                    self.untag(spec).await?;
                    return Err(changed);
                }
                id
            }
            Build::Cargo(_) | Build::Image { .. } => return Ok(Vec::new()),
        };
        let built = self.done(spec, id, BuildOutcome::Built, &task);
        task.finish(TaskOutcome::Done, "");
        Ok(vec![built])
    }

    /// All cargo services that are missing.
    async fn cargo(&self, missing: Vec<&ImageSpec>) -> Result<Built, BuildError> {
        let lock = self.lock().await?;
        // Another process may have built them while it held the lock.
        let mut report = BuildReport::default();
        let missing = match lock.waited {
            true => self.cached(missing, &mut report).await?,
            false => missing,
        };
        let mut built: Built = report.images.into_iter().collect();
        if missing.is_empty() {
            return Ok(built);
        }
        let tasks: Vec<Task<'_>> = missing.iter().map(|spec| self.task(spec)).collect();
        let root = fs::canonicalize(&self.stack.root).map_err(|source| BuildError::File {
            action: format!("find {}", self.stack.root.display()),
            source,
        })?;
        let executables = Compilation {
            root,
            builds: self.compiled_together(),
            color: self.context.options.color,
        }
        .run(&tasks, self.context.cancel)
        .await?;
        let mut binaries = Vec::new();
        for spec in &missing {
            let executable = &executables[&spec.service];
            binaries.push(
                fs::read(&executable.path).map_err(|source| BuildError::File {
                    action: format!("read the binary of {}", spec.service),
                    source,
                })?,
            );
            self.warn_of_undeclared(spec, executable);
        }
        self.check_unchanged(&missing)?;
        for ((spec, binary), task) in missing.into_iter().zip(binaries).zip(tasks) {
            task.progress("loading");
            let id = self.load(spec, &binary).await?;
            built.push(self.done(spec, id, BuildOutcome::Built, &task));
            task.finish(TaskOutcome::Done, "");
        }
        // Who waited for it finds the images.
        drop(lock);
        Ok(built)
    }

    /// Cargo unites the features of all packages it compiles at once. Naming the unchanged ones, too (nothing is
    /// compiled for them), keeps dependencies from being compiled anew for each set of changed services.
    fn compiled_together(&self) -> BTreeMap<&ServiceName, &CargoBuild> {
        self.specs
            .values()
            .filter_map(|spec| match &spec.build {
                Build::Cargo(build) => Some((&spec.service, build)),
                _ => None,
            })
            .collect()
    }

    async fn load(&self, spec: &ImageSpec, binary: &[u8]) -> Result<String, BuildError> {
        let Build::Cargo(build) = &spec.build else {
            return Ok(String::new());
        };
        elf::check(binary, &Target::host().platform.architecture).map_err(|reason| {
            BuildError::NotRunnable {
                bin: build.bin.clone(),
                reason,
                span: build.span.clone(),
            }
        })?;
        let failed = |source| BuildError::File {
            action: format!("assemble the image of {}", spec.service),
            source,
        };
        let image = assemble::image(spec, &build.bin, binary, self.context.options.created)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let archive = oci_image::write_image_archive(&image, &[&spec.reference], Vec::new())
            .map_err(failed)?;
        let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(archive))]);
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let loading = self
            .context
            .engine
            .docker()
            .import_image_stream(options, pieces, None);
        let action = format!("load the image of {}", spec.service);
        let answers: Vec<_> = tokio::select! {
            answers = loading.collect() => answers,
            () = self.context.cancel.cancelled() => return Err(BuildError::Interrupted),
        };
        for answer in answers {
            answer.map_err(BuildError::engine(action.clone()))?;
        }
        self.image_id(spec).await?.ok_or_else(|| {
            let error = "it does not have the image after loading it".to_owned();
            BuildError::engine(action)(bollard::errors::Error::DockerStreamError { error })
        })
    }

    /// A tag promises what an image is made from: what was edited meanwhile must not get it.
    fn check_unchanged(&self, built: &[&ImageSpec]) -> Result<(), BuildError> {
        let names: Vec<ServiceName> = built.iter().map(|spec| spec.service.clone()).collect();
        let now = specs(self.stack, Some(&names))?;
        for spec in built {
            let changed = spec.inputs.changed(&now[&spec.service].inputs);
            if !changed.is_empty() {
                return Err(BuildError::SourcesChanged {
                    service: spec.service.clone(),
                    changed: changed.into_iter().map(str::to_owned).collect(),
                });
            }
        }
        Ok(())
    }

    fn warn_of_undeclared(&self, spec: &ImageSpec, executable: &Executable) {
        for source in &executable.sources {
            let name = source.to_string_lossy();
            if spec.inputs.contains("file", &name) || source.ends_with("Cargo.toml") {
                continue;
            }
            let warning = Diagnostic::warning(
                UNDECLARED,
                format!("`{name}` is compiled into {}, but its tag does not depend on it", spec.service),
            )
            .hint("keep it in the package's folder, outside tests/, benches/ and examples/, and out of .gitignore");
            self.context.events.emit(Event::Warning(warning));
        }
    }

    async fn image_id(&self, spec: &ImageSpec) -> Result<Option<String>, BuildError> {
        let id = self.context.engine.image_id(&spec.reference).await;
        id.map_err(BuildError::engine(format!("look for {}", spec.reference)))
    }

    async fn tag(&self, id: &str, spec: &ImageSpec) -> Result<(), BuildError> {
        let (repository, tag) = spec
            .reference
            .rsplit_once(':')
            .expect("`specs` ends every reference that is built with a tag");
        let options = TagImageOptionsBuilder::new()
            .repo(repository)
            .tag(tag)
            .build();
        let tagged = self.context.engine.docker().tag_image(id, Some(options));
        tagged.await.map_err(BuildError::engine(format!(
            "tag the image of {}",
            spec.service
        )))
    }

    async fn untag(&self, spec: &ImageSpec) -> Result<(), BuildError> {
        let options = RemoveImageOptionsBuilder::new().noprune(true).build();
        let docker = self.context.engine.docker();
        let removed = docker.remove_image(&spec.reference, Some(options), None);
        removed
            .await
            .map(|_| ())
            .map_err(BuildError::engine(format!("remove {}", spec.reference)))
    }

    fn task(&self, spec: &ImageSpec) -> Task<'_> {
        Task::start(self.context.events, Phase::Build, spec.service.as_str())
    }

    fn done(
        &self,
        spec: &ImageSpec,
        id: String,
        outcome: BuildOutcome,
        task: &Task<'_>,
    ) -> (ServiceName, BuiltImage) {
        let image = BuiltImage {
            reference: spec.reference.clone(),
            id: Some(id),
            outcome,
            elapsed: task.elapsed(),
        };
        (spec.service.clone(), image)
    }

    /// Cargo's own lock ends with cargo: until its binaries are loaded, no other build may write them.
    async fn lock(&self) -> Result<Held, BuildError> {
        let state = StateFolder::of(&self.stack.root);
        let mut waited = false;
        loop {
            let lock = state.try_lock(LOCK).map_err(|source| BuildError::File {
                action: "lock .stackctl/build.lock".to_owned(),
                source,
            })?;
            if let Some(file) = lock {
                return Ok(Held {
                    _file: file,
                    waited,
                });
            }
            if !waited {
                let note = "waiting for another build of this repository";
                self.context.events.emit(Event::Note(note.to_owned()));
                waited = true;
            }
            tokio::select! {
                () = tokio::time::sleep(LOCK_INTERVAL) => {}
                () = self.context.cancel.cancelled() => return Err(BuildError::Interrupted),
            }
        }
    }
}

/// The lock of a build; the operating system frees it with the process.
struct Held {
    _file: File,
    waited: bool,
}
