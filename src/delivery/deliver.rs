//! Moves built images along a route.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use crate::event::{Event, EventSink, Phase, TaskOutcome};
use crate::image::progress::Task;
use crate::image::{BuildOutcome, BuildReport, BuiltImage, DockerConfig, Engine, registry_of};
use crate::stack::ServiceName;

use super::delivery_error::DeliveryError;
use super::push::Push;
use super::route::{ClusterFacts, EngineFacts, Route};
use super::tool;

/// Pushes at the same time; the engine sends up to five layers of each at once.
const PUSHES: usize = 4;
/// The tools copy whole images through one pipe.
const TOOLS: usize = 1;

/// What a delivery works with.
#[derive(Clone, Copy)]
pub struct DeliveryContext<'a> {
    /// The engine that has the images.
    pub engine: &'a Engine,
    /// Where they are to be found.
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
    /// By service, without those that come from a registry as they are.
    pub images: BTreeMap<ServiceName, Delivered>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What became of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It was there.
    Present,
    /// It was moved; a few words on how much.
    Moved(String),
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

/// Brings the images of `built` to the cluster. The first failure ends the others.
pub async fn deliver(
    built: &BuildReport,
    route: &Route,
    context: &DeliveryContext<'_>,
) -> Result<DeliveryReport, DeliveryError> {
    let started = Instant::now();
    context.events.emit(Event::PhaseStarted(Phase::Deliver));
    let ours: Vec<(&ServiceName, &BuiltImage)> = built
        .images
        .iter()
        .filter(|(_, image)| image.outcome != BuildOutcome::External)
        .collect();
    let images = match route {
        Route::SharedEngine => present(ours),
        Route::Registry(_) => push_all(ours, context).await?,
        _ => load_all(ours, route, context).await?,
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
        if self.route == Route::SharedEngine {
            return self.route.to_string();
        }
        let moved = self
            .images
            .values()
            .filter(|image| matches!(image, Delivered::Moved(_)))
            .count();
        let present = self.images.len() - moved;
        format!("{moved} delivered, {present} present ({})", self.route)
    }
}

fn present(images: Vec<(&ServiceName, &BuiltImage)>) -> BTreeMap<ServiceName, Delivered> {
    images
        .into_iter()
        .map(|(service, _)| (service.clone(), Delivered::Present))
        .collect()
}

async fn push_all(
    images: Vec<(&ServiceName, &BuiltImage)>,
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, Delivered>, DeliveryError> {
    let config = &DockerConfig::load()?;
    let pushes = images.into_iter().map(|(service, image)| async move {
        let task = start(service, context);
        let push = Push {
            service,
            reference: &image.reference,
            docker: context.engine.docker(),
            task: &task,
            cancel: context.cancel,
        };
        let moved = push.run(config).await?;
        Ok((service.clone(), finish(task, moved)))
    });
    futures_util::stream::iter(pushes)
        .buffer_unordered(PUSHES)
        .try_collect()
        .await
}

async fn load_all(
    images: Vec<(&ServiceName, &BuiltImage)>,
    route: &Route,
    context: &DeliveryContext<'_>,
) -> Result<BTreeMap<ServiceName, Delivered>, DeliveryError> {
    let loads = images.into_iter().map(|(service, image)| async move {
        let task = start(service, context);
        let command = tool::command(route, &image.reference)
            .filter(|_| !is_on_every_node(context.cluster, &image.reference));
        let moved = match command {
            Some((tool, arguments)) => {
                tool::run(tool, &arguments, &task, context.cancel).await?;
                Some("the whole image".to_owned())
            }
            None => None,
        };
        Ok((service.clone(), finish(task, moved)))
    });
    futures_util::stream::iter(loads)
        .buffer_unordered(TOOLS)
        .try_collect()
        .await
}

/// containerd writes out the registry that Docker takes for granted.
fn is_on_every_node(cluster: &ClusterFacts, reference: &str) -> bool {
    let mut names = vec![reference.to_owned()];
    if registry_of(reference) == "docker.io" {
        let implied = if reference.contains('/') {
            "docker.io"
        } else {
            "docker.io/library"
        };
        names.push(format!("{implied}/{reference}"));
    }
    !cluster.nodes.is_empty()
        && cluster
            .nodes
            .iter()
            .all(|node| names.iter().any(|name| node.images.contains(name)))
}

fn start<'a>(service: &ServiceName, context: &DeliveryContext<'a>) -> Task<'a> {
    Task::start(context.events, Phase::Deliver, service.as_str())
}

fn finish(task: Task<'_>, moved: Option<String>) -> Delivered {
    match moved {
        Some(what) => {
            task.finish(TaskOutcome::Done, what.as_str());
            Delivered::Moved(what)
        }
        None => {
            task.finish(TaskOutcome::Unchanged, "present");
            Delivered::Present
        }
    }
}

#[cfg(test)]
mod tests {
    use test_support::docker::{FakeDocker, FakeImage};

    use super::*;
    use crate::delivery::NodeFacts;
    use crate::event::Recorder;

    fn built() -> BuildReport {
        let image = |reference: &str, outcome| BuiltImage {
            reference: reference.into(),
            id: None,
            outcome,
            elapsed: Duration::ZERO,
        };
        BuildReport {
            images: [
                (
                    "a".parse().unwrap(),
                    image("seedling/a:1", BuildOutcome::Built),
                ),
                (
                    "db".parse().unwrap(),
                    image("postgres:16", BuildOutcome::External),
                ),
            ]
            .into(),
        }
    }

    fn cluster(images: &[&str]) -> ClusterFacts {
        let node = NodeFacts {
            images: images.iter().map(|&name| name.to_owned()).collect(),
            ..NodeFacts::default()
        };
        ClusterFacts {
            context: "there".into(),
            nodes: vec![node.clone(), node],
        }
    }

    async fn delivered(
        route: Route,
        cluster: &ClusterFacts,
    ) -> (DeliveryReport, FakeDocker, Recorder) {
        let (fake, events) = (FakeDocker::default(), Recorder::default());
        fake.add_image("seedling/a:1", FakeImage::default());
        let context = DeliveryContext {
            engine: &Engine::from_docker(fake.client(), "unix:///fake"),
            cluster,
            events: &events,
            cancel: &CancellationToken::new(),
        };
        let report = deliver(&built(), &route, &context).await.unwrap();
        (report, fake, events)
    }

    #[tokio::test]
    async fn a_shared_engine_needs_nothing() {
        let (report, fake, _) = delivered(Route::SharedEngine, &cluster(&[])).await;
        assert_eq!(report.summary(), "the cluster shares this Docker engine");
        assert!(fake.requests().is_empty());
    }

    #[tokio::test]
    async fn only_our_own_images_are_moved() {
        let route = Route::Registry("r.example.com".into());
        let (report, fake, events) = delivered(route, &cluster(&[])).await;
        assert_eq!(fake.pushed(), ["seedling/a:1"]);
        assert_eq!(
            report.summary(),
            "1 delivered, 0 present (registry r.example.com)"
        );
        let finished = events.events().into_iter().find_map(|event| match event {
            Event::TaskFinished {
                task,
                outcome,
                detail,
                ..
            } => Some((task, outcome, detail)),
            _ => None,
        });
        assert_eq!(
            finished,
            Some(("a".into(), TaskOutcome::Done, "1 of 2 layers".into()))
        );
    }

    #[tokio::test]
    async fn nodes_that_have_the_image_are_left_alone() {
        let route = || Route::Kind {
            cluster: "no-such-cluster".into(),
        };
        for names in [&["seedling/a:1"], &["docker.io/seedling/a:1"]] {
            let (report, ..) = delivered(route(), &cluster(names)).await;
            assert_eq!(report.images["a"], Delivered::Present);
        }
        let mut uneven = cluster(&["docker.io/seedling/a:1"]);
        uneven.nodes[1].images.clear();
        assert!(!is_on_every_node(&uneven, "seedling/a:1"));
        assert!(!is_on_every_node(
            &cluster(&["r.example.com/seedling/a:1"]),
            "seedling/a:1"
        ));
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
