//! Containers and sandboxes that the runtime cannot start.

use std::time::Duration;

use super::super::cause::CauseKind;
use super::super::deadline::later;
use super::super::event::about;
use super::super::pod::{Container, Pod, State};
use super::{Certain, Scene, Symptom, pointer};

/// What a second try cannot cure.
const HOPELESS: [&str; 8] = [
    "no such file or directory",
    "executable file not found",
    "permission denied",
    "exec format error",
    "is a directory",
    "not a directory",
    "no command specified",
    "runAsNonRoot",
];

/// A container that never began to run; other failures of the runtime may pass and count from the second on.
pub(super) fn cannot(
    scene: &Scene<'_>,
    pod: &Pod<'_>,
    container: &Container<'_>,
) -> Option<Symptom> {
    if matches!(container.state(), State::Running { .. }) {
        return None;
    }
    let end = container
        .last_end()
        .filter(|end| matches!(end.reason, "ContainerCannotRun" | "StartError"));
    let message = match (container.state(), end) {
        (_, Some(end)) => end.message,
        (
            State::Waiting {
                reason: "RunContainerError" | "CreateContainerError" | "PostStartHookError",
                message,
            },
            None,
        ) => message,
        _ => return None,
    };
    let failures = about(scene.observed, pod.value);
    let failures: Vec<_> = failures
        .iter()
        .filter(|event| event.is_of(container.name) && event.reason == "Failed")
        .collect();
    let hopeless = HOPELESS.iter().any(|word| message.contains(word));
    let repeated = container.finished_runs() > 1 || failures.iter().any(|event| event.count > 1);
    let certain = if hopeless || repeated {
        Certain::Now
    } else {
        Certain::AtDeadline
    };
    let sign = end
        .and_then(|end| end.at)
        .max(failures.last().and_then(|event| event.last));
    let kind = CauseKind::CannotRun {
        message: core_of(message).to_owned(),
    };
    let field = ["/command", "/args", "/image"]
        .iter()
        .find_map(|field| pointer::of_container(scene.workload, container.name, field));
    Some(
        Symptom::new(kind, scene.unless_stale(pod, sign, certain))
            .said(message)
            .behind(field),
    )
}

/// A node that has just started may lack its network for so long.
const SANDBOX_PATIENCE: Duration = Duration::from_secs(60);
/// Kubelets try again every few seconds.
const SANDBOX_ATTEMPTS: u64 = 3;

/// A pod without network or cgroup: the node's trouble, which may pass. Again and again beyond patience, it is
/// the pod's: a memory limit below what the runtime itself needs, a host port that is taken.
pub(super) fn sandbox(scene: &Scene<'_>, pod: &Pod<'_>) -> Option<Symptom> {
    let untouched = |container: Container<'_>| {
        container.restarts() == 0
            && matches!(
                container.state(),
                State::Unknown
                    | State::Waiting {
                        reason: "ContainerCreating" | "PodInitializing",
                        ..
                    }
            )
    };
    if !pod.is_scheduled() || !pod.containers().all(untouched) {
        return None;
    }
    let events = about(scene.observed, pod.value);
    let event = events
        .last()
        .filter(|event| event.reason == "FailedCreatePodSandBox")?;
    let kind = CauseKind::CannotRun {
        message: event.message.to_owned(),
    };
    let failures = events.iter().filter(|other| other.reason == event.reason);
    let attempts: u64 = failures.map(|failure| failure.count).sum();
    let begin = pod.created().max(scene.expectation.since);
    let certain = match begin {
        Some(begin) if attempts >= SANDBOX_ATTEMPTS => Certain::At(later(
            begin,
            scene.expectation.ready_within.max(SANDBOX_PATIENCE),
        )),
        _ => Certain::AtDeadline,
    };
    Some(Symptom::new(kind, certain).told_by(Some(event)))
}

/// Without the layers of runtimes that passed the message on.
fn core_of(message: &str) -> &str {
    let inner = [
        "unable to start container process: ",
        "OCI runtime create failed: ",
    ]
    .iter()
    .find_map(|layer| message.rsplit_once(layer))
    .map_or(message, |(_, inner)| inner);
    inner.strip_suffix(": unknown").unwrap_or(inner)
}

#[cfg(test)]
mod tests {
    use super::core_of;

    #[test]
    fn only_the_innermost_message_is_told() {
        assert_eq!(
            core_of(
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/no/such\": stat /no/such: no such file or directory: unknown"
            ),
            "exec: \"/no/such\": stat /no/such: no such file or directory"
        );
        assert_eq!(core_of("no command specified"), "no command specified");
    }
}
