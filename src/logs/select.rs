//! Which containers of which pods; pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::Source;
use crate::stack::{ServiceName, StackName};

/// One run of a container: after a restart it is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    pub(super) source: Source,
    /// What the runtime calls it.
    pub(super) id: String,
}

/// The label selector of a stack's pods; of the services in `only` where it names any.
pub(super) fn selector(stack: &StackName, only: &[ServiceName]) -> String {
    let mut selector = format!("app.kubernetes.io/part-of={stack}");
    match only {
        [] => {}
        [one] => selector.push_str(&format!(",app.kubernetes.io/name={one}")),
        many => {
            let names: Vec<&str> = many.iter().map(ServiceName::as_str).collect();
            selector.push_str(&format!(",app.kubernetes.io/name in ({})", names.join(",")));
        }
    }
    selector
}

/// The runs of a pod that have lines: those that have started, or (`previous`) the ones before them.
/// Only containers called `container`, where that is given.
pub(super) fn runs(pod: &Pod, container: Option<&str>, previous: bool) -> Vec<Run> {
    let Some((service, name)) = service_and_name(pod) else {
        return Vec::new();
    };
    statuses(pod)
        .filter(|status| container.is_none_or(|wanted| wanted == status.name))
        .filter_map(|status| {
            let id = if previous {
                last_id(status)
            } else {
                current_id(status)
            }?;
            Some(Run {
                source: Source {
                    service: service.clone(),
                    pod: name.clone(),
                    container: status.name.clone(),
                },
                id: id.to_owned(),
            })
        })
        .collect()
}

fn service_and_name(pod: &Pod) -> Option<(ServiceName, String)> {
    let labels = pod.metadata.labels.as_ref()?;
    let service = labels.get("app.kubernetes.io/name")?.parse().ok()?;
    Some((service, pod.metadata.name.clone()?))
}

/// Init containers first, as they run.
fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    })
}

/// The run whose lines `log` gives now: a container that waits to be started again has those of the
/// run before.
fn current_id(status: &ContainerStatus) -> Option<&str> {
    let state = status.state.as_ref()?;
    if state.running.is_some() {
        status.container_id.as_deref()
    } else if let Some(terminated) = &state.terminated {
        terminated
            .container_id
            .as_deref()
            .or(status.container_id.as_deref())
    } else {
        last_id(status)
    }
}

fn last_id(status: &ContainerStatus) -> Option<&str> {
    let last = status.last_state.as_ref()?.terminated.as_ref()?;
    last.container_id.as_deref()
}

/// How a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunState {
    Running,
    /// It has ended and its lines are the current ones.
    Ended(Option<i32>),
    /// It has ended and its lines are those of the previous run.
    Replaced(Option<i32>),
    /// Nothing is known of it any more.
    Gone,
}

/// How `run` is doing in the current state of its pod.
pub(super) fn state(pod: &Pod, run: &Run) -> RunState {
    let Some(status) = statuses(pod).find(|status| status.name == run.source.container) else {
        return RunState::Gone;
    };
    let is_it = |id: &Option<String>| id.as_deref() == Some(run.id.as_str());
    let state = status.state.as_ref();
    if state.is_some_and(|state| state.running.is_some()) && is_it(&status.container_id) {
        return RunState::Running;
    }
    let ended = state.and_then(|state| state.terminated.as_ref());
    if let Some(ended) = ended.filter(|ended| is_it(&ended.container_id)) {
        return RunState::Ended(Some(ended.exit_code));
    }
    let last = status
        .last_state
        .as_ref()
        .and_then(|last| last.terminated.as_ref())
        .filter(|last| is_it(&last.container_id));
    match last {
        Some(last) if state.is_some_and(|state| state.waiting.is_some()) => {
            RunState::Ended(Some(last.exit_code))
        }
        Some(last) => RunState::Replaced(Some(last.exit_code)),
        None => RunState::Gone,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(containers: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "web-1", "labels": { "app.kubernetes.io/name": "web" } },
            "status": {
                "initContainerStatuses": [status("migrate", "docker://m", json!({ "terminated": { "exitCode": 0, "containerID": "docker://m" } }), json!({}))],
                "containerStatuses": containers,
            },
        }))
        .unwrap()
    }

    fn status(name: &str, id: &str, state: Value, last: Value) -> Value {
        json!({
            "name": name, "containerID": id, "image": "i", "imageID": "i", "ready": true,
            "restartCount": 0, "state": state, "lastState": last,
        })
    }

    fn running() -> Value {
        json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } })
    }

    fn ended(id: &str, code: i32) -> Value {
        json!({ "terminated": { "exitCode": code, "containerID": id } })
    }

    fn ids(pod: &Pod, container: Option<&str>, previous: bool) -> Vec<String> {
        runs(pod, container, previous)
            .into_iter()
            .map(|run| format!("{} {}", run.source.container, run.id))
            .collect()
    }

    #[test]
    fn selectors_name_the_stack_and_the_services() {
        let stack: StackName = "seedling".parse().unwrap();
        let names = ["a", "b"].map(|name| name.parse().unwrap());
        assert_eq!(selector(&stack, &[]), "app.kubernetes.io/part-of=seedling");
        assert_eq!(
            selector(&stack, &names[..1]),
            "app.kubernetes.io/part-of=seedling,app.kubernetes.io/name=a"
        );
        assert_eq!(
            selector(&stack, &names),
            "app.kubernetes.io/part-of=seedling,app.kubernetes.io/name in (a,b)"
        );
    }

    #[test]
    fn what_has_started_has_lines() {
        let pod = pod(json!([
            status("app", "docker://a", running(), json!({})),
            status(
                "side",
                "",
                json!({ "waiting": { "reason": "ImagePullBackOff" } }),
                json!({})
            ),
        ]));
        assert_eq!(
            ids(&pod, None, false),
            ["migrate docker://m", "app docker://a"]
        );
        assert_eq!(ids(&pod, Some("app"), false), ["app docker://a"]);
        assert!(ids(&pod, Some("other"), false).is_empty());
        assert!(ids(&pod, None, true).is_empty(), "nothing ran before");
    }

    #[test]
    fn a_crashing_container_has_the_lines_of_its_last_run() {
        let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let pod = pod(json!([status(
            "app",
            "docker://a",
            waiting,
            ended("docker://a", 1)
        )]));
        assert_eq!(ids(&pod, Some("app"), false), ["app docker://a"]);
        assert_eq!(ids(&pod, Some("app"), true), ["app docker://a"]);
    }

    #[test]
    fn pods_of_nobody_are_left_out() {
        let nobody: Pod = serde_json::from_value(json!({ "metadata": { "name": "x" } })).unwrap();
        assert!(runs(&nobody, None, false).is_empty());
    }

    #[track_caller]
    fn check(state_now: Value, last: Value, expected: RunState) {
        let pod = pod(json!([status("app", "docker://b", state_now, last)]));
        let run = Run {
            source: Source {
                service: "web".parse().unwrap(),
                pod: "web-1".into(),
                container: "app".into(),
            },
            id: "docker://a".into(),
        };
        assert_eq!(state(&pod, &run), expected);
    }

    #[test]
    fn a_run_is_told_from_the_next_one() {
        check(ended("docker://a", 3), json!({}), RunState::Ended(Some(3)));
        check(
            running(),
            ended("docker://a", 3),
            RunState::Replaced(Some(3)),
        );
        check(
            json!({ "waiting": {} }),
            ended("docker://a", 3),
            RunState::Ended(Some(3)),
        );
        check(running(), ended("docker://0", 3), RunState::Gone);
        let pod = pod(json!([status("app", "docker://a", running(), json!({}))]));
        let run = runs(&pod, Some("app"), false).remove(0);
        assert_eq!(state(&pod, &run), RunState::Running);
    }
}
