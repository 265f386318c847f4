//! Local clusters that are filled by their own command line tool.

use std::io;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::image::process::{self, ProcessError};
use crate::image::progress::{Tail, Task};

use super::delivery_error::DeliveryError;
use super::route::Route;

/// The tool and its arguments that bring `reference` into the cluster; `None` where no tool does.
pub(super) fn command(route: &Route, reference: &str) -> Option<(&'static str, Vec<String>)> {
    let (tool, arguments): (_, Vec<&str>) = match route {
        Route::Minikube { profile } => (
            "minikube",
            vec!["image", "load", reference, "--profile", profile],
        ),
        Route::Kind { cluster } => (
            "kind",
            vec!["load", "docker-image", reference, "--name", cluster],
        ),
        Route::K3d { cluster } => (
            "k3d",
            vec!["image", "import", reference, "--cluster", cluster],
        ),
        Route::SharedEngine | Route::Registry(_) => return None,
    };
    Some((tool, arguments.into_iter().map(str::to_owned).collect()))
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
        let line = |route| {
            command(&route, "seedling/a:1")
                .map(|(tool, arguments)| format!("{tool} {}", arguments.join(" ")))
        };
        let cluster = || "dev".to_owned();
        for (route, expected) in [
            (
                Route::Minikube { profile: cluster() },
                "minikube image load seedling/a:1 --profile dev",
            ),
            (
                Route::Kind { cluster: cluster() },
                "kind load docker-image seedling/a:1 --name dev",
            ),
            (
                Route::K3d { cluster: cluster() },
                "k3d image import seedling/a:1 --cluster dev",
            ),
        ] {
            assert_eq!(line(route).as_deref(), Some(expected));
        }
        assert_eq!(line(Route::SharedEngine), None);
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
