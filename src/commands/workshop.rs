//! Where images are made on this machine, and how they get from there to where they are to run.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;

use oci_image::{ArchiveError, Descriptor, LayoutError, Platform, Reference};

use crate::cluster::Cluster;
use crate::delivery::{
    self, ClusterFacts, Delivery, DeliveryContext, DeliveryError, DeliveryReport, EngineFacts,
    Route, Source,
};
use crate::diagnostic::Explain;
use crate::image::{
    self, BuildContext, BuildOptions, BuildReport, BuiltImage, Engine, EngineError, Held,
    ImageSpec, Store,
};
use crate::stack::{Build, ServiceName, Stack};

use super::connect::facts;
use super::{CommandError, Env};

/// The store and, where one answers, the Docker engine.
pub(super) struct Workshop {
    pub(super) store: Store,
    engine: Result<Engine, Option<EngineError>>,
    /// Whether the engine assembles what is made ready here.
    with_docker: bool,
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
                created: source_date_epoch().unwrap_or_default(),
                with_docker: self.with_docker,
            },
        };
        Ok(image::build(stack, specs, &context).await?)
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
            Err(error) => return Err(self.healed(error)),
        };
        for (service, delivered) in &report.images {
            if let (Some(pinned), Some(image)) = (&delivered.pinned, built.images.get_mut(service))
            {
                image.reference = pinned.to_string();
            }
        }
        Ok(report)
    }

    /// A damaged blob is taken out of the store, so that the next build makes it anew.
    fn healed(&self, error: DeliveryError) -> CommandError {
        let damaged = damaged(&error).cloned();
        let mut error = CommandError::from(error);
        if let Some(blob) = damaged
            && self.store.layout().discard(&blob).is_ok()
        {
            let hint = "what is damaged was taken out of the store: run the command again and it is made anew";
            error.diagnostics = error
                .diagnostics
                .into_iter()
                .map(|problem| problem.hint(hint))
                .collect();
        }
        error
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
            reference: image.reference.parse().ok()?,
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

/// The blob of the store that an error is about, somewhere among its causes.
fn damaged(error: &DeliveryError) -> Option<&Descriptor> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(blob) = error
            .downcast_ref::<LayoutError>()
            .and_then(LayoutError::damaged)
        {
            return Some(blob);
        }
        if let Some(blob) = error
            .downcast_ref::<ArchiveError>()
            .and_then(ArchiveError::damaged)
        {
            return Some(blob);
        }
        // An I/O error passes over the error it wraps.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
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
        .filter_map(|spec| Some((spec.service.clone(), spec.reference.parse().ok()?)));
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

/// <https://reproducible-builds.org/specs/source-date-epoch/>
pub(super) fn source_date_epoch() -> Option<u64> {
    std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse().ok())
}
