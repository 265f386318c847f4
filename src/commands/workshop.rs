//! Where images are made on this machine, and how they get from there to where they are to run.

use std::collections::BTreeMap;
use std::error::Error;

use oci_image::{Platform, Reference};

use crate::cluster::Cluster;
use crate::delivery::{
    self, ClusterFacts, Delivery, DeliveryContext, DeliveryReport, EngineFacts, Route, Source,
};
use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::image::{
    self, BuildContext, BuildOptions, BuildReport, BuiltImage, Engine, EngineError, Held,
    ImageSpec, Store,
};
use crate::stack::{Build, ServiceName, Stack};

use super::connect::facts;
use super::{CommandError, Env};

/// `SOURCE_DATE_EPOCH` is no time.
const TIME: Code = Code::new("S0470");
/// The variable that sets the time of images: <https://reproducible-builds.org/specs/source-date-epoch/>.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The last second of the year 9999: later times cannot be written as RFC 3339 has it.
const LAST_SECOND: u64 = 253_402_300_799;

/// The store and, where one answers, the Docker engine.
pub(super) struct Workshop {
    pub(super) store: Store,
    engine: Result<Engine, Option<EngineError>>,
    /// Whether the engine assembles what is made ready here.
    with_docker: bool,
    /// The time of images, in seconds since 1970.
    created: u64,
}

/// A way for images, and what is known of its end.
pub(super) struct Way {
    pub(super) route: Route,
    facts: ClusterFacts,
}

impl Workshop {
    /// Opens what the images of `specs` need. Without `wants_engine` the engine is only asked for where one of them
    /// is built there.
    pub(super) async fn open(
        specs: &BTreeMap<ServiceName, ImageSpec>,
        wants_engine: bool,
    ) -> Result<Self, CommandError> {
        let created = source_date_epoch()?.unwrap_or_default();
        let needs_engine = specs.values().any(is_built_in_engine);
        let engine = match needs_engine || wants_engine {
            true => Engine::connect().await.map_err(Some),
            false => Err(None),
        };
        match engine {
            Err(Some(error)) if needs_engine => Err(error.into()),
            engine => Ok(Self {
                store: Store::open()?,
                engine,
                with_docker: false,
                created,
            }),
        }
    }

    /// Opens what a delivery into a cluster needs: with a registry between them that is no engine.
    pub(super) async fn for_cluster(
        specs: &BTreeMap<ServiceName, ImageSpec>,
        stack: &Stack,
    ) -> Result<Self, CommandError> {
        let any = !specs.values().all(is_external);
        Self::open(specs, any && stack.environment.registry.is_none()).await
    }

    /// Lets the engine assemble.
    pub(super) fn with_docker(mut self) -> Result<Self, CommandError> {
        self.require_engine()?;
        self.with_docker = true;
        Ok(self)
    }

    /// The engine, if one was asked for and answered.
    pub(super) fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref().ok()
    }

    /// Explains why there is no engine.
    pub(super) fn require_engine(&self) -> Result<(), CommandError> {
        match &self.engine {
            Err(Some(error)) => Err(CommandError {
                exit: error.exit(),
                diagnostics: error.diagnostics(),
            }),
            _ => Ok(()),
        }
    }

    /// Builds what is neither on this machine nor in the registry that `route` leads to.
    pub(super) async fn build(
        &self,
        stack: &Stack,
        specs: &BTreeMap<ServiceName, ImageSpec>,
        route: Option<&Route>,
        env: &Env,
    ) -> Result<BuildReport, CommandError> {
        let in_registry = match route {
            Some(route) => in_registry(&self.absent(specs).await?, route, env).await?,
            None => BTreeMap::new(),
        };
        let context = BuildContext {
            store: &self.store,
            engine: self.engine(),
            in_registry: &in_registry,
            timings: &env.timings,
            events: env.events.as_ref(),
            cancel: &env.cancel,
            options: BuildOptions {
                color: env.color,
                created: self.created,
                with_docker: self.with_docker,
            },
        };
        let built = image::build(stack, specs, &context).await;
        built.map_err(|error| healed(&self.store, error))
    }

    /// The image of `spec`, if this machine has it.
    pub(super) async fn find(&self, spec: &ImageSpec) -> Result<Option<Held>, CommandError> {
        Ok(image::find(spec, &self.store, self.engine()).await?)
    }

    async fn absent<'s>(
        &self,
        specs: &'s BTreeMap<ServiceName, ImageSpec>,
    ) -> Result<Vec<&'s ImageSpec>, CommandError> {
        let mut absent = Vec::new();
        for spec in specs.values() {
            if self.find(spec).await?.is_none() {
                absent.push(spec);
            }
        }
        Ok(absent)
    }

    /// The way into a cluster for the images of `specs`; none where none of them is built here. Refused here,
    /// nothing is built in vain and nothing is applied.
    pub(super) async fn way(
        &self,
        stack: &Stack,
        specs: &BTreeMap<ServiceName, ImageSpec>,
        cluster: &Cluster,
    ) -> Result<Option<Way>, CommandError> {
        if specs.values().all(is_external) {
            return Ok(None);
        }
        let facts = facts(cluster).await?;
        let engine = match self.engine() {
            Some(engine) => delivery::engine_facts(engine).await?,
            None => EngineFacts::default(),
        };
        let route = delivery::route(&facts, &engine, stack.environment.registry.as_ref());
        match (route, &self.engine) {
            (Ok(route), _) => Ok(Some(Way { route, facts })),
            // With an engine there might have been a way.
            (Err(refused), Err(Some(_))) => {
                let mut error = CommandError::from(refused);
                let no_engine =
                    "no Docker engine answers on this machine, so none is shared with the cluster";
                error.diagnostics = error
                    .diagnostics
                    .into_iter()
                    .map(|problem| problem.note(no_engine))
                    .collect();
                Err(error)
            }
            (Err(refused), _) => Err(refused.into()),
        }
    }

    /// Brings what was built along `way`; `built` then names what pods are to run.
    pub(super) async fn deliver(
        &self,
        way: &Way,
        built: &mut BuildReport,
        env: &Env,
    ) -> Result<DeliveryReport, CommandError> {
        let images: Vec<Delivery> = built
            .images
            .iter()
            .filter_map(|(service, image)| self.delivery(service, image))
            .collect();
        let context = DeliveryContext {
            engine: self.engine(),
            timings: &env.timings,
            cluster: &way.facts,
            events: env.events.as_ref(),
            cancel: &env.cancel,
        };
        let report = match delivery::deliver(&images, &way.route, &context).await {
            Ok(report) => report,
            Err(error) => return Err(healed(&self.store, error)),
        };
        for (service, delivered) in &report.images {
            if let (Some(pinned), Some(image)) = (&delivered.pinned, built.images.get_mut(service))
            {
                image.reference = pinned.to_string();
            }
        }
        Ok(report)
    }

    /// `None` for what is there already.
    fn delivery(&self, service: &ServiceName, image: &BuiltImage) -> Option<Delivery> {
        let source = match &image.held {
            Held::Store(descriptor) => Source::Store {
                layout: self.store.layout().clone(),
                descriptor: descriptor.clone(),
            },
            Held::Engine(id) => Source::Engine {
                reference: image.reference.clone(),
                id: id.clone(),
            },
            Held::Elsewhere => return None,
        };
        Some(Delivery {
            service: service.clone(),
            reference: reference(&image.reference),
            source,
            platform: host_platform(),
        })
    }
}

impl Way {
    /// A way that leads to no cluster.
    pub(super) fn to(route: Route) -> Self {
        Self {
            route,
            facts: ClusterFacts::default(),
        }
    }
}

/// Says what is wrong with `store`, and takes out the damaged blob that `error` is about, if it is about one: the next
/// build makes it anew.
pub(super) fn healed<E>(store: &Store, error: E) -> CommandError
where
    E: Error + Into<CommandError> + 'static,
{
    let damaged = image::damaged_blob(&error).cloned();
    let mut error: CommandError = error.into();
    if let Some(blob) = damaged
        && store.layout().discard(&blob).is_ok()
    {
        let hint =
            "what is damaged was taken out of the store: run the command again and it is made anew";
        error.diagnostics = error
            .diagnostics
            .into_iter()
            .map(|problem| problem.hint(hint))
            .collect();
    }
    error
}

/// Those of `specs` that the registry has that `route` leads to, with their digests: somebody else has built them from
/// the same inputs.
pub(super) async fn in_registry(
    specs: &[&ImageSpec],
    route: &Route,
    env: &Env,
) -> Result<BTreeMap<ServiceName, Reference>, CommandError> {
    let Route::Registry(_) = route else {
        return Ok(BTreeMap::new());
    };
    let wanted = specs
        .iter()
        .map(|spec| (spec.service.clone(), reference(&spec.reference)));
    tokio::select! {
        found = delivery::find_in_registry(wanted.collect()) => Ok(found?),
        () = env.cancel.cancelled() => Err(super::interrupted()),
    }
}

/// Whether an image comes from elsewhere as it is.
pub(super) fn is_external(spec: &ImageSpec) -> bool {
    matches!(spec.build, Build::Image { .. })
}

fn is_built_in_engine(spec: &ImageSpec) -> bool {
    matches!(spec.build, Build::Dockerfile(_) | Build::Command(_))
}

/// What pods on this machine run.
fn host_platform() -> Platform {
    image::host_platform()
}

/// What an image that is built here is called.
pub(super) fn reference(text: &str) -> Reference {
    text.parse()
        .expect("made of a registry that was checked for it, a service's name and a digest")
}

/// The time that images and documents are to have, in seconds since 1970, where one is set.
pub(super) fn source_date_epoch() -> Result<Option<u64>, CommandError> {
    let Some(text) = std::env::var_os(SOURCE_DATE_EPOCH).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    match text.parse() {
        Ok(seconds) if seconds <= LAST_SECOND => Ok(Some(seconds)),
        _ => Err(CommandError {
            exit: Exit::BadInput,
            diagnostics: vec![
                Diagnostic::error(
                    TIME,
                    format!("{SOURCE_DATE_EPOCH} is `{text}`, which is no time"),
                )
                .hint(
                    "it is a number of seconds since 1970, as `git log -1 --format=%ct` writes it",
                ),
            ],
        }),
    }
}
