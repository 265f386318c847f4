//! Moves images along a route: each takes what is missing at the other end, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use oci_image::{Descriptor, Layout, Platform, Reference};
use tokio_util::sync::CancellationToken;

use crate::event::{Event, EventSink, Phase, TaskOutcome};
use crate::image::Engine;
use crate::image::progress::Task;
use crate::stack::ServiceName;
use crate::timings::{Step, Timings};

use super::delivery_error::DeliveryError;
use super::moved::Moved;
use super::route::{ClusterFacts, EngineFacts, Route};
use super::{archive_file, docker, layout_folder, minikube, nodes, registry};

/// An image that is to be somewhere else.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whose it is.
    pub service: ServiceName,
    /// What pods run: repository and tag; the tag is the digest of what the image was made from.
    pub reference: Reference,
    /// Where it is now.
    pub source: Source,
    /// What engines and nodes run, and need; folders, registries and archives take whatever there is.
    pub platform: Platform,
}

/// Where an image is before it is delivered.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a layout on this machine.
    Store {
        /// Which.
        layout: Layout,
        /// Its manifest, or the index of its platforms.
        descriptor: Descriptor,
    },
    /// In this machine's Docker engine.
    Engine {
        /// What the engine calls it.
        reference: String,
        /// The engine's id of it, `sha256:…`.
        id: String,
    },
}

/// What a delivery works with.
#[derive(Clone, Copy)]
pub struct DeliveryContext<'a> {
    /// This machine's engine; needed where it is a source or takes part in the route.
    pub engine: Option<&'a Engine>,
    /// What measures it.
    pub timings: &'a Timings,
    /// Where the images are to be found.
    pub cluster: &'a ClusterFacts,
    /// Who hears what happens.
    pub events: &'a dyn EventSink,
    /// Ends the delivery and every program it runs.
    pub cancel: &'a CancellationToken,
}

/// What a delivery did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The way they took.
    pub route: Route,
    /// By service.
    pub images: BTreeMap<ServiceName, DeliveredImage>,
    /// How long it took.
    pub elapsed: Duration,
}

/// An image where it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveredImage {
    /// What became of it.
    pub outcome: Delivered,
    /// Its reference with the digest that the registry has it under; none where the route is not a registry.
    pub pinned: Option<Reference>,
}

/// What became of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It was there.
    Present,
    /// It was moved. With several nodes: to the one that lacked most of it.
    Moved(Moved),
}

/// What the route depends on at this end.
pub async fn engine_facts(engine: &Engine) -> Result<EngineFacts, DeliveryError> {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    Ok(EngineFacts {
        boot_id: boot_id
            .filter(|_| engine.is_local())
            .map(|id| id.trim().to_owned()),
        name: engine
            .name()
            .await
            .map_err(|source| DeliveryError::Engine {
                action: "tell its name".to_owned(),
                source,
            })?,
    })
}

/// Brings images where `route` leads. The first failure ends the others; what was moved until then stays and is not
/// moved again. No name leads to an image before all of it is there.
pub async fn deliver(
    images: &[Delivery],
    route: &Route,
    context: &DeliveryContext<'_>,
) -> Result<DeliveryReport, DeliveryError> {
    let started = Instant::now();
    context.events.emit(Event::PhaseStarted(Phase::Deliver));
    let images = match route {
        Route::SharedEngine | Route::Engine => docker::deliver(images, context).await?,
        Route::Registry(_) => registry::deliver(images, context).await?,
        Route::OciLayout(folder) => layout_folder::deliver(images, folder, context).await?,
        Route::Archive(file) => archive_file::deliver(images, file, context).await?,
        Route::Minikube { profile } => minikube::deliver(images, profile, context).await?,
        Route::Kind { .. } | Route::K3d { .. } => nodes::deliver(images, route, context).await?,
    };
    let report = DeliveryReport {
        route: route.clone(),
        images,
        elapsed: started.elapsed(),
    };
    context.events.emit(Event::PhaseFinished {
        phase: Phase::Deliver,
        summary: report.summary(),
        elapsed: report.elapsed,
    });
    Ok(report)
}

impl DeliveryReport {
    /// Such as `1 delivered, 5 present (registry r.example.com/team)`.
    #[must_use]
    pub fn summary(&self) -> String {
        let outcomes = self.images.values().map(|image| image.outcome);
        let moved = outcomes.filter(|&outcome| outcome != Delivered::Present);
        match (moved.count(), &self.route) {
            (0, Route::SharedEngine) => self.route.to_string(),
            (moved, route) => {
                let present = self.images.len() - moved;
                format!("{moved} delivered, {present} present ({route})")
            }
        }
    }
}

impl DeliveredImage {
    /// Nothing was to do.
    pub(super) fn present() -> Self {
        Self {
            outcome: Delivered::Present,
            pinned: None,
        }
    }

    /// Something was to do.
    pub(super) fn moved(moved: Moved) -> Self {
        Self {
            outcome: Delivered::Moved(moved),
            pinned: None,
        }
    }

    /// In a registry.
    pub(super) fn pinned(self, reference: Reference) -> Self {
        Self {
            pinned: Some(reference),
            ..self
        }
    }
}

impl<'a> DeliveryContext<'a> {
    /// The engine, where there is no way without it.
    pub(super) fn engine(&self) -> Result<&'a Engine, DeliveryError> {
        self.engine.ok_or(DeliveryError::NoEngine)
    }
}

/// How images are moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// At the same time.
    pub at_once: usize,
    /// What it is called where the time went.
    pub step: Step,
}

/// Delivers images with a task each, some at the same time; Ctrl-C and the first failure end all.
pub(super) async fn each<'a>(
    images: &'a [Delivery],
    pace: Pace,
    context: &DeliveryContext<'a>,
    deliver: impl AsyncFn(&'a Delivery, &Task<'a>) -> Result<DeliveredImage, DeliveryError>,
) -> Result<BTreeMap<ServiceName, DeliveredImage>, DeliveryError> {
    let deliver = &deliver;
    let jobs = images.iter().map(|image| async move {
        let task = Task::start(context.events, Phase::Deliver, image.service.as_str());
        let _moving = context.timings.span(image.service.as_str(), pace.step);
        let delivered = tokio::select! {
            delivered = deliver(image, &task) => delivered?,
            () = context.cancel.cancelled() => return Err(DeliveryError::Interrupted),
        };
        match delivered.outcome {
            Delivered::Moved(moved) => task.finish(TaskOutcome::Done, moved.to_string()),
            Delivered::Present => task.finish(TaskOutcome::Unchanged, "present"),
        }
        Ok((image.service.clone(), delivered))
    });
    futures_util::stream::iter(jobs)
        .buffer_unordered(pace.at_once)
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use test_support::docker::FakeDocker;

    use super::*;
    use crate::delivery::test_images::{TestContext, TestStore};

    #[tokio::test]
    async fn a_delivery_is_a_phase_with_a_task_an_image() {
        let (fake, store) = (FakeDocker::default(), TestStore::new());
        let context = TestContext::with_engine(fake.client());
        let images = [
            store.delivery("", "a", &["base"]),
            store.delivery("", "b", &["base", "more"]),
        ];
        let report = deliver(&images, &Route::SharedEngine, &context.context()).await;
        let words = "2 delivered, 0 present (the cluster shares this Docker engine)";
        assert_eq!(report.unwrap().summary(), words);
        let report = deliver(&images, &Route::SharedEngine, &context.context()).await;
        let words = "the cluster shares this Docker engine";
        assert_eq!(report.unwrap().summary(), words);
        let events = context.events.events();
        assert!(matches!(events[0], Event::PhaseStarted(Phase::Deliver)));
        assert!(matches!(
            events.last(),
            Some(Event::PhaseFinished { summary, .. }) if summary == words
        ));
        assert_eq!(context.finished().len(), 4);
    }

    #[tokio::test]
    async fn the_first_failure_ends_the_others() {
        let (context, store) = (TestContext::default(), TestStore::new());
        let images = ["a", "b"].map(|service| store.delivery("", service, &["base"]));
        let failing = async |image: &Delivery, _: &Task<'_>| {
            if image.service.as_str() == "b" {
                return Err(DeliveryError::NoEngine);
            }
            std::future::pending().await
        };
        let pace = Pace {
            at_once: 2,
            step: Step::Load,
        };
        let failed = each(&images, pace, &context.context(), failing).await;
        let error = failed.unwrap_err();
        assert!(matches!(error, DeliveryError::NoEngine), "{error}");
        let ended = context.finished();
        assert_eq!(ended.len(), 2, "no task is left open: {ended:?}");
    }

    #[tokio::test]
    async fn the_engine_tells_where_it_is() {
        let fake = FakeDocker::default();
        let facts = |address: &'static str| {
            let engine = Engine::from_docker(fake.client(), address);
            async move { engine_facts(&engine).await.unwrap() }
        };
        let local = facts("unix:///var/run/docker.sock").await;
        assert_eq!(local.name.as_deref(), Some("fake"));
        assert_eq!(local.boot_id.is_some(), cfg!(target_os = "linux"));
        assert_eq!(facts("tcp://elsewhere:2375").await.boot_id, None);
    }
}
