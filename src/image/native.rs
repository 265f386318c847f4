//! Images that are assembled here: what lies below the binaries is made ready while cargo compiles them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use futures_util::future;
use oci_image::{Descriptor, Index, Platform, StoredImage, media_type};

use crate::diagnostic::{Code, Diagnostic};
use crate::event::Event;
use crate::stack::{Build, CargoBuild, NativeBuild, ServiceName};
use crate::timings::Step;

use super::assemble::{self, Below, Binary, LayerOptions, Parts};
use super::background::blocking;
use super::build::{Built, Session};
use super::build_error::BuildError;
use super::cargo::{Compilation, Compiled, Executable};
use super::elf;
use super::environment::Environment;
use super::explain::Reason;
use super::files_layer::{self, Copies};
use super::freshness::Results;
use super::progress::Task;
use super::report::{BuildReport, BuiltImage};
use super::sources::{self, UndeclaredSources};
use super::spec::ImageSpec;
use super::store::StoredLayer;
use super::target::Target;
use super::{base, build_lock, packages, target, unseen, watched};

/// A variable that code reads and that cargo does not see.
const WITHHELD: Code = Code::new("S0447");

/// One image on its way.
struct Making<'a> {
    spec: &'a ImageSpec,
    build: &'a NativeBuild,
    reason: Reason,
    task: Task<'a>,
}

/// What lies at the bottom of an image for one platform.
type Lower = (Platform, Option<StoredImage>, Option<StoredLayer>);

/// An image without binaries.
pub(crate) async fn build(
    session: &Session<'_>,
    spec: &ImageSpec,
    build: &NativeBuild,
) -> Result<Built, BuildError> {
    let making = Making::start(session, spec, build);
    let below = making.below(session).await?;
    session.check_unchanged(&[spec])?;
    Ok(vec![making.finish(session, below, BTreeMap::new()).await?])
}

/// All images with binaries that are missing.
pub(crate) async fn build_with_cargo(
    session: &Session<'_>,
    missing: Vec<&ImageSpec>,
) -> Result<Built, BuildError> {
    let lock = build_lock::lock(session).await?;
    // Another process may have built them while it held the lock.
    let mut report = BuildReport::default();
    let missing = match lock.waited {
        true => session.cached(missing, &mut report).await?,
        false => missing,
    };
    let mut built: Built = report.images.into_iter().collect();
    let making: Vec<Making<'_>> = missing
        .iter()
        .filter_map(|spec| match &spec.build {
            Build::Native(build) => Some(Making::start(session, spec, build)),
            _ => None,
        })
        .collect();
    let ((binaries, given), below) = future::try_join(
        compile_all(session, &making),
        future::try_join_all(making.iter().map(|making| making.below(session))),
    )
    .await?;
    session.check_unchanged(&missing)?;
    for given in given {
        given.keep()?;
    }
    let parts = making.into_iter().zip(below).zip(binaries);
    built.extend(
        future::try_join_all(
            parts.map(|((making, below), binaries)| making.finish(session, below, binaries)),
        )
        .await?,
    );
    // Who waited for it finds the images.
    drop(lock);
    Ok(built)
}

/// Binaries of one image by platform.
type Binaries = BTreeMap<Platform, Vec<Binary>>;

/// Compiles with as few runs of cargo as there are batches, profiles and targets, and reads what they made.
async fn compile_all(
    session: &Session<'_>,
    making: &[Making<'_>],
) -> Result<(Vec<Binaries>, Vec<unseen::Pending>), BuildError> {
    let root = fs::canonicalize(&session.stack.root).map_err(|source| BuildError::File {
        action: format!("find {}", session.stack.root.display()),
        source,
    })?;
    let environment = Environment::of_process();
    let mut binaries: Vec<Binaries> = making.iter().map(|_| Binaries::new()).collect();
    let mut given = Vec::new();
    for (run, members) in runs(making) {
        let members: Vec<(usize, &Making<'_>)> = members
            .iter()
            .map(|&index| (index, &making[index]))
            .collect();
        let compiler = Compiler {
            session,
            root: &root,
            environment: &environment,
        };
        let services: Vec<&Making<'_>> = members.iter().map(|(_, making)| *making).collect();
        let (compiled, pending) = compiler.compile(&run, &services).await?;
        given.push(pending);
        // The next run may write files of the same names.
        for (index, making) in members {
            let read = compiler.read(making, &compiled, &run.target)?;
            binaries[index].insert(run.target.platform.clone(), read);
        }
        warn_of_withheld(session, &services, &compiled);
    }
    Ok((binaries, given))
}

/// What runs of cargo have in common.
struct Compiler<'a> {
    session: &'a Session<'a>,
    /// The repository, without links.
    root: &'a Path,
    environment: &'a Environment,
}

impl Compiler<'_> {
    async fn compile(
        &self,
        run: &Run,
        services: &[&Making<'_>],
    ) -> Result<(Compiled, unseen::Pending), BuildError> {
        let context = &self.session.context;
        let specs: Vec<&ImageSpec> = services.iter().map(|making| making.spec).collect();
        let declared = specs.iter().flat_map(|spec| spec.inputs.iter());
        let declared = declared
            .filter_map(|(input, _)| input.strip_prefix("env "))
            .map(str::to_owned)
            .collect();
        let builds = services.iter().copied();
        let compilation = Compilation {
            root: self.root,
            selection: &run.selection,
            profile: &run.profile,
            target: &run.target,
            builds: builds
                .filter_map(|making| making.build.cargo.as_ref())
                .collect(),
            environment: self.environment,
            declared: &declared,
            color: context.options.color,
        };
        let results = Results {
            root: self.root,
            folder: &compilation.target_folder(),
            triple: run.target.triple,
            profile: &run.profile,
        };
        let inputs = specs.iter().map(|spec| &spec.inputs);
        let sources = results.refresh(inputs, context.cancel).await?;
        let given = unseen::refresh(&results, &specs, context.cancel).await?;
        let timings = context.timings;
        let _compiling: Vec<_> = specs
            .iter()
            .map(|spec| timings.span(spec.service.as_str(), Step::Compile))
            .collect();
        let compiling: Vec<(&ImageSpec, &Task<'_>)> = services
            .iter()
            .map(|making| (making.spec, &making.task))
            .collect();
        let compiled = watched::compile(self.session, &compilation, &results, &compiling).await?;
        sources.keep()?;
        Ok((compiled, given))
    }

    fn read(
        &self,
        making: &Making<'_>,
        compiled: &Compiled,
        target: &Target,
    ) -> Result<Vec<Binary>, BuildError> {
        let Some(cargo) = &making.build.cargo else {
            return Ok(Vec::new());
        };
        let mut binaries = Vec::new();
        let mut all_sources = BTreeSet::new();
        for bin in cargo.all_bins().collect::<BTreeSet<_>>() {
            let executable =
                compiled
                    .get(&cargo.package, bin)
                    .ok_or_else(|| BuildError::NoExecutable {
                        service: making.spec.service.clone(),
                        bin: bin.to_owned(),
                        span: cargo.span.clone(),
                    })?;
            binaries.push(binary(making, cargo, bin, executable, target)?);
            all_sources.extend(executable.sources.iter().cloned());
        }
        let home = self.environment.cargo_home();
        let inputs = &making.spec.inputs;
        let found = sources::undeclared(self.root, home.as_deref(), inputs, &all_sources)?;
        if let Some(warning) = sources::warning(&making.spec.service, &found.of_the_system) {
            self.session.context.events.emit(Event::Warning(warning));
        }
        match found.sources.is_empty() {
            true => Ok(binaries),
            false => Err(BuildError::Undeclared(UndeclaredSources {
                service: making.spec.service.clone(),
                sources: found.sources,
                span: cargo.span.clone(),
            })),
        }
    }
}

/// What services have in common that one run of cargo compiles.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    selection: Vec<String>,
    profile: String,
    target: Target,
}

fn runs(making: &[Making<'_>]) -> BTreeMap<Run, Vec<usize>> {
    let mut runs: BTreeMap<Run, Vec<usize>> = BTreeMap::new();
    for (index, making) in making.iter().enumerate() {
        let Some(cargo) = &making.build.cargo else {
            continue;
        };
        for target in Target::of_build(making.build) {
            let run = Run {
                selection: making.spec.selection.clone(),
                profile: cargo.profile.clone(),
                target,
            };
            runs.entry(run).or_default().push(index);
        }
    }
    runs
}

fn binary(
    making: &Making<'_>,
    cargo: &CargoBuild,
    bin: &str,
    executable: &Executable,
    target: &Target,
) -> Result<Binary, BuildError> {
    let content = fs::read(&executable.path).map_err(|source| BuildError::File {
        action: format!("read the binary of {}", making.spec.service),
        source,
    })?;
    // With a base or packages below it, a loader may be there.
    if making.build.base.is_none() && making.build.packages.is_none() {
        elf::check(&content, &target.platform.architecture).map_err(|reason| {
            BuildError::NotRunnable {
                bin: bin.to_owned(),
                reason,
                span: cargo.span.clone(),
            }
        })?;
    }
    Ok(Binary {
        name: bin.to_owned(),
        content,
    })
}

fn warn_of_withheld(session: &Session<'_>, services: &[&Making<'_>], compiled: &Compiled) {
    for (package, variables) in &compiled.withheld {
        let users = services
            .iter()
            .filter(|making| making.spec.inputs.contains("manifest", package));
        let files: Vec<String> = users
            .map(|making| format!("services/{}/service.yaml", making.spec.service))
            .collect();
        for name in variables {
            let warning = Diagnostic::warning(
                WITHHELD,
                format!("the code of {package} asks for `{name}`, which is set here, but cargo does not see it"),
            )
            .hint(format!(
                "write `inputs: [${name}]` below `build` in {}, or unset it",
                files.join(", ")
            ));
            session.context.events.emit(Event::Warning(warning));
        }
    }
}

impl<'a> Making<'a> {
    fn start(session: &'a Session<'_>, spec: &'a ImageSpec, build: &'a NativeBuild) -> Self {
        Self {
            spec,
            build,
            reason: session.reason(spec),
            task: session.task(spec),
        }
    }

    /// What lies below the binaries, for each platform.
    async fn below(&self, session: &Session<'_>) -> Result<Vec<(Platform, Below)>, BuildError> {
        let files = self.files(session);
        let (files, lower) = future::try_join(files, self.lower(session)).await?;
        let below = lower.into_iter().map(|(platform, base, packages)| {
            let below = Below {
                base,
                packages,
                files: files.clone(),
            };
            (platform, below)
        });
        Ok(below.collect())
    }

    /// Base and packages of each platform.
    async fn lower(&self, session: &Session<'_>) -> Result<Vec<Lower>, BuildError> {
        let mut found = Vec::new();
        for platform in target::platforms(self.build) {
            let base = match &self.build.base {
                Some(base) => {
                    let timings = session.context.timings;
                    let _pulling = timings.span(self.spec.service.as_str(), Step::Download);
                    Some(base::pull(session, base, &platform, &self.task).await?)
                }
                None => None,
            };
            let packages = match &self.build.packages {
                Some(wanted) => {
                    let wanted = packages::Wanted {
                        service: &self.spec.service,
                        packages: wanted,
                        files: &self.build.files,
                        platform: &platform,
                        options: self.options(session),
                    };
                    Some(packages::layer(session, &wanted, &self.task).await?)
                }
                None => None,
            };
            found.push((platform, base, packages));
        }
        Ok(found)
    }

    /// The files of the repository. There may be much of them.
    async fn files(&self, session: &Session<'_>) -> Result<Option<StoredLayer>, BuildError> {
        let root = session.stack.root.clone();
        let store = session.context.store.clone();
        let spec = self.spec.clone();
        let build = self.build.beside_packages();
        let options = self.options(session);
        blocking(move || {
            let copies = Copies {
                root: &root,
                spec: &spec,
                build: &build,
                options,
            };
            files_layer::layer(&store, &copies)
        })
        .await
    }

    /// Puts the parts together; several platforms become one index.
    async fn finish(
        self,
        session: &Session<'_>,
        below: Vec<(Platform, Below)>,
        mut binaries: Binaries,
    ) -> Result<(ServiceName, BuiltImage), BuildError> {
        self.task.progress("assembling");
        let timings = session.context.timings;
        let _assembling = timings.span(self.spec.service.as_str(), Step::Assemble);
        let mut manifests = Vec::new();
        for (platform, below) in below {
            let parts = Parts {
                spec: self.spec.clone(),
                build: self.build.clone(),
                binaries: binaries.remove(&platform).unwrap_or_default(),
                platform,
                below,
                options: self.options(session),
            };
            let store = session.context.store.clone();
            manifests.push(blocking(move || assemble::image(&store, parts)).await?);
        }
        let image = self.joined(session, manifests)?;
        let held = session.keep(self.spec, &image)?;
        Ok(session.done(self.spec, held, self.reason, self.task))
    }

    fn options(&self, session: &Session<'_>) -> LayerOptions {
        LayerOptions {
            created: session.context.options.created,
            compression: self.build.compression,
        }
    }

    fn joined(
        &self,
        session: &Session<'_>,
        mut manifests: Vec<Descriptor>,
    ) -> Result<Descriptor, BuildError> {
        if manifests.len() == 1 {
            let mut image = manifests.remove(0);
            image.platform = None;
            return Ok(image);
        }
        let index = Index {
            annotations: assemble::annotations(
                self.spec,
                self.build,
                session.context.options.created,
            ),
            ..Index::new(manifests)
        };
        Ok(session
            .context
            .store
            .layout()
            .add(media_type::INDEX, &index.to_json())?)
    }
}
