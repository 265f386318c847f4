//! Local clusters filled by their own command line tool: where nothing better works.

use std::io;
use std::path::Path;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::image::process::{self, ProcessError};
use crate::image::progress::{Tail, Task};

use super::archive_file;
use super::deliver::{DeliveredImage, Delivery, DeliveryContext, Source};
use super::delivery_error::DeliveryError;
use super::moved::Moved;
use super::names::{familiar, is_on_every_node};
use super::route::Route;
use super::source::open;

/// What a tool is to bring into a cluster.
enum Cargo<'a> {
    /// An image of the Docker engine.
    Image(&'a str),
    /// An archive as `docker save` writes it.
    File(&'a Path),
}

/// Brings the whole of an image to all nodes that lack it, as far as they tell.
pub(super) async fn load(
    image: &Delivery,
    route: &Route,
    context: &DeliveryContext<'_>,
    task: &Task<'_>,
) -> Result<DeliveredImage, DeliveryError> {
    if is_on_every_node(context.cluster, &image.reference) {
        return Ok(DeliveredImage::present());
    }
    if let Source::Engine { reference, .. } = &image.source {
        let (tool, arguments) = command(route, &Cargo::Image(reference));
        run(tool, &arguments, task, context.cancel).await?;
        return Ok(DeliveredImage::moved(
            whole_of_engine(reference, context).await,
        ));
    }
    let opened = open(image, context, task).await?;
    let name = familiar(&image.reference);
    let file = archive_file::temporary(&opened, name, context.cancel).await?;
    let (tool, arguments) = command(route, &Cargo::File(&file));
    run(tool, &arguments, task, context.cancel).await?;
    Ok(DeliveredImage::moved(opened.all()))
}

/// A tool moves everything; how much that is, is of no weight should the engine not say.
async fn whole_of_engine(reference: &str, context: &DeliveryContext<'_>) -> Moved {
    let Some(engine) = context.engine else {
        return Moved::default();
    };
    let Ok(image) = engine.docker().inspect_image(reference).await else {
        return Moved::default();
    };
    let size = image.size.and_then(|size| size.try_into().ok());
    let layers = image.root_fs.and_then(|layers| layers.layers);
    Moved {
        layers: layers.map_or(0, |layers| layers.len()),
        bytes: size.unwrap_or(0),
        of: size.unwrap_or(0),
    }
}

/// The tool and its arguments.
fn command(route: &Route, cargo: &Cargo<'_>) -> (&'static str, Vec<String>) {
    let (what, is_file) = match cargo {
        Cargo::Image(reference) => ((*reference).to_owned(), false),
        Cargo::File(path) => (path.display().to_string(), true),
    };
    let what = what.as_str();
    let (tool, arguments): (_, Vec<&str>) = match route {
        Route::Kind { cluster } if is_file => (
            "kind",
            vec!["load", "image-archive", what, "--name", cluster],
        ),
        Route::Kind { cluster } => (
            "kind",
            vec!["load", "docker-image", what, "--name", cluster],
        ),
        Route::K3d { cluster } => ("k3d", vec!["image", "import", what, "--cluster", cluster]),
        Route::Minikube { profile } => (
            "minikube",
            vec!["image", "load", what, "--profile", profile],
        ),
        Route::SharedEngine
        | Route::Engine
        | Route::Registry(_)
        | Route::OciLayout(_)
        | Route::Archive(_) => unreachable!("only local clusters have a tool"),
    };
    (tool, arguments.into_iter().map(str::to_owned).collect())
}

/// Runs the tool to its end.
pub(super) async fn run(
    tool: &'static str,
    arguments: &[String],
    task: &Task<'_>,
    cancel: &CancellationToken,
) -> Result<(), DeliveryError> {
    let mut command = Command::new(tool);
    command.args(arguments);
    let mut tail = Tail::default();
    let status = process::run(command, cancel, |_, line| {
        tail.push(line);
        task.progress(line.trim());
    })
    .await
    .map_err(|error| match error {
        ProcessError::Interrupted => DeliveryError::Interrupted,
        ProcessError::Io(source) if source.kind() == io::ErrorKind::NotFound => {
            DeliveryError::NoTool { tool }
        }
        ProcessError::Io(source) => DeliveryError::ToolStart { tool, source },
    })?;
    if status.success() {
        return Ok(());
    }
    Err(DeliveryError::Tool {
        command: format!("{tool} {}", arguments.join(" ")),
        status: status.to_string(),
        tail: tail.into_lines(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_gets_its_arguments() {
        let line = |route, cargo| {
            let (tool, arguments) = command(&route, &cargo);
            format!("{tool} {}", arguments.join(" "))
        };
        let cluster = || "dev".to_owned();
        let routes = || {
            [
                Route::Minikube { profile: cluster() },
                Route::Kind { cluster: cluster() },
                Route::K3d { cluster: cluster() },
            ]
        };
        let image = routes().map(|route| line(route, Cargo::Image("seedling/a:1")));
        assert_eq!(
            image,
            [
                "minikube image load seedling/a:1 --profile dev",
                "kind load docker-image seedling/a:1 --name dev",
                "k3d image import seedling/a:1 --cluster dev",
            ]
        );
        let file = routes().map(|route| line(route, Cargo::File(Path::new("/t/a.tar"))));
        assert_eq!(
            file,
            [
                "minikube image load /t/a.tar --profile dev",
                "kind load image-archive /t/a.tar --name dev",
                "k3d image import /t/a.tar --cluster dev",
            ]
        );
    }

    #[tokio::test]
    async fn a_missing_tool_and_a_failing_one_are_told_apart() {
        let cancel = CancellationToken::new();
        let task = Task::start(&crate::event::Silent, crate::event::Phase::Deliver, "a");
        let missing = run("no-such-tool-here", &[], &task, &cancel)
            .await
            .unwrap_err();
        assert!(matches!(missing, DeliveryError::NoTool { .. }), "{missing}");
        let script = "echo no such cluster >&2; exit 4".to_owned();
        let failed = run("sh", &["-c".to_owned(), script], &task, &cancel).await;
        let Err(DeliveryError::Tool { status, tail, .. }) = failed else {
            panic!("{failed:?}");
        };
        assert_eq!(
            (status.as_str(), tail),
            ("exit status: 4", vec!["no such cluster".to_owned()])
        );
    }
}
