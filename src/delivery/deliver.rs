//! Brings images to a cluster.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Instant;

use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, EventSink, Phase, TaskOutcome};
use crate::image::{DockerConfig, Engine, registry_of};
use crate::stack::ServiceName;

use super::error::DeliveryError;
use super::route::{ClusterFacts, NodeFacts, Route};

/// Pushes at a time: the engine sends the layers of each in parallel already.
const CONCURRENCY: usize = 3;
/// Bytes of a failed program's output that are shown.
const LAST_WORDS: usize = 2_000;

/// What became of each image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Images that were moved.
    pub moved: Vec<ServiceName>,
    /// Images that were there.
    pub present: Vec<ServiceName>,
}

/// Brings images (references by service) to where the cluster finds them; what is there already stays.
pub async fn deliver(
    route: &Route,
    images: &BTreeMap<ServiceName, String>,
    facts: &ClusterFacts,
    engine: &Engine,
    events: &dyn EventSink,
    cancel: &CancellationToken,
) -> Result<Delivered, DeliveryError> {
    if *route == Route::SharedEngine || images.is_empty() {
        return Ok(Delivered {
            moved: Vec::new(),
            present: images.keys().cloned().collect(),
        });
    }
    let started = Instant::now();
    events.emit(Event::PhaseStarted(Phase::Deliver));
    let walk = async {
        match route {
            Route::Registry => push_all(images, engine, events).await,
            _ => load_all(route, images, facts, events).await,
        }
    };
    let delivered = tokio::select! {
        delivered = walk => delivered?,
        () = cancel.cancelled() => return Err(DeliveryError::Cancelled),
    };
    events.emit(Event::PhaseFinished {
        phase: Phase::Deliver,
        summary: format!(
            "{} delivered, {} there already",
            delivered.moved.len(),
            delivered.present.len()
        ),
        elapsed: started.elapsed(),
    });
    Ok(delivered)
}

async fn push_all(
    images: &BTreeMap<ServiceName, String>,
    engine: &Engine,
    events: &dyn EventSink,
) -> Result<Delivered, DeliveryError> {
    let config = &DockerConfig::load()?;
    let pushed: Vec<(ServiceName, bool)> = stream::iter(images)
        .map(|(service, image)| async move {
            let moved = task(service, events, push(image, engine, config)).await?;
            Ok::<_, DeliveryError>((service.clone(), moved))
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    let mut delivered = Delivered::default();
    for (service, moved) in pushed {
        if moved {
            delivered.moved.push(service)
        } else {
            delivered.present.push(service)
        }
    }
    Ok(delivered)
}

/// Whether the registry of an image has it; not being let in counts as no.
pub async fn is_in_registry(image: &str, engine: &Engine) -> Result<bool, DeliveryError> {
    let login = DockerConfig::load()?
        .credentials(registry_of(image))
        .await?;
    Ok(engine
        .docker()
        .inspect_registry_image(image, login)
        .await
        .is_ok())
}

/// Pushes an image unless the registry has its tag: a tag is the digest of the inputs, so it never moves.
async fn push(image: &str, engine: &Engine, config: &DockerConfig) -> Result<bool, DeliveryError> {
    let docker = engine.docker();
    let login = config.credentials(registry_of(image)).await?;
    if docker
        .inspect_registry_image(image, login.clone())
        .await
        .is_ok()
    {
        return Ok(false);
    }
    let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    let options = PushImageOptionsBuilder::default().tag(tag).build();
    let failed = |message: String| DeliveryError::Push {
        image: image.to_owned(),
        message,
    };
    let mut progress = docker.push_image(repository, Some(options), login);
    while let Some(step) = progress.next().await {
        let step = step.map_err(|error| failed(error.to_string()))?;
        if let Some(message) = step.error_detail.and_then(|detail| detail.message) {
            return Err(failed(message));
        }
    }
    Ok(true)
}

/// Loads the images that a node lacks, all with one call of the cluster's own program.
async fn load_all(
    route: &Route,
    images: &BTreeMap<ServiceName, String>,
    facts: &ClusterFacts,
    events: &dyn EventSink,
) -> Result<Delivered, DeliveryError> {
    let has = |image: &str| facts.nodes.iter().all(|node| has_image(node, image));
    let (present, missing): (Vec<_>, Vec<_>) = images.iter().partition(|(_, image)| has(image));
    let names = |images: &[(&ServiceName, &String)]| {
        images
            .iter()
            .map(|(service, _)| (*service).clone())
            .collect()
    };
    if !missing.is_empty() {
        let references: Vec<&str> = missing.iter().map(|(_, image)| image.as_str()).collect();
        let (program, arguments) = program(route, &references);
        let services: Vec<String> = missing
            .iter()
            .map(|(service, _)| service.to_string())
            .collect();
        task(&services.join(", "), events, run(program, &arguments)).await?;
    }
    Ok(Delivered {
        moved: names(&missing),
        present: names(&present),
    })
}

/// Runtimes report `docker.io/shop/web:1` for what Docker calls `shop/web:1`.
fn has_image(node: &NodeFacts, image: &str) -> bool {
    ["", "docker.io/", "docker.io/library/"]
        .iter()
        .any(|prefix| node.images.contains(&format!("{prefix}{image}")))
}

fn program<'a>(route: &'a Route, images: &[&'a str]) -> (&'static str, Vec<&'a str>) {
    match route {
        Route::Minikube { profile } => (
            "minikube",
            [&["--profile", profile, "image", "load"], images].concat(),
        ),
        Route::Kind { cluster } => (
            "kind",
            [&["load", "docker-image", "--name", cluster], images].concat(),
        ),
        Route::K3d { cluster } => (
            "k3d",
            [&["image", "import", "--cluster", cluster], images].concat(),
        ),
        Route::SharedEngine | Route::Registry => unreachable!("these need no program"),
    }
}

async fn run(program: &str, arguments: &[&str]) -> Result<bool, DeliveryError> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| DeliveryError::NoProgram {
            program: program.to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(true);
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    let skip = text.chars().count().saturating_sub(LAST_WORDS);
    Err(DeliveryError::ProgramFailed {
        command: format!("{program} {}", arguments.join(" ")),
        output: text.trim().chars().skip(skip).collect(),
    })
}

/// Runs one task with its events; gives whether anything was moved.
async fn task(
    name: &(impl ToString + ?Sized),
    events: &dyn EventSink,
    work: impl Future<Output = Result<bool, DeliveryError>>,
) -> Result<bool, DeliveryError> {
    let (task, started) = (name.to_string(), Instant::now());
    events.emit(Event::TaskStarted {
        phase: Phase::Deliver,
        task: task.clone(),
    });
    let result = work.await;
    let outcome = match &result {
        Ok(true) => TaskOutcome::Done,
        Ok(false) => TaskOutcome::Unchanged,
        Err(_) => TaskOutcome::Failed,
    };
    events.emit(Event::TaskFinished {
        phase: Phase::Deliver,
        task,
        outcome,
        detail: String::new(),
        elapsed: started.elapsed(),
    });
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_clusters_have_programs_of_their_own() {
        let images = ["shop/web:1", "shop/db:1"];
        let typed = |route: Route| {
            let (name, arguments) = program(&route, &images);
            format!("{name} {}", arguments.join(" "))
        };
        assert_eq!(
            typed(Route::Minikube {
                profile: "dev".into()
            }),
            "minikube --profile dev image load shop/web:1 shop/db:1"
        );
        assert_eq!(
            typed(Route::Kind {
                cluster: "blue".into()
            }),
            "kind load docker-image --name blue shop/web:1 shop/db:1"
        );
        assert_eq!(
            typed(Route::K3d {
                cluster: "c".into()
            }),
            "k3d image import --cluster c shop/web:1 shop/db:1"
        );
    }

    #[test]
    fn a_node_may_write_an_image_in_full() {
        let node = NodeFacts {
            images: ["docker.io/shop/web:1".to_owned()].into(),
            ..NodeFacts::default()
        };
        assert!(has_image(&node, "shop/web:1"));
        assert!(!has_image(&node, "shop/web:2"));
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = run("no-such-program-here", &[]).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`no-such-program-here` cannot be started"),
            "{error}"
        );
        let error = run("sh", &["-c", "echo no space left >&2; exit 3"])
            .await
            .unwrap_err();
        assert!(
            matches!(error, DeliveryError::ProgramFailed { output, .. } if output == "no space left")
        );
    }
}
