//! Probes that fail.

use serde_json::Value;

use super::super::cause::{CauseKind, ProbeKind};
use super::super::deadline::later;
use super::super::event::{Event, about};
use super::super::observed::text;
use super::super::pod::{Container, Pod, State};
use super::{Certain, Scene, Symptom, pointer};
use crate::readiness::count;

/// Kubernetes' default of `failureThreshold`.
const THRESHOLD: u64 = 3;

/// A container that runs and whose readiness probe has failed its threshold: certain `readyWithin` after the
/// container began to run.
pub(super) fn readiness(
    scene: &Scene<'_>,
    pod: &Pod<'_>,
    container: &Container<'_>,
) -> Option<Symptom> {
    let State::Running {
        since: Some(running),
    } = container.state()
    else {
        return None;
    };
    let probe = if container.has_started() {
        ProbeKind::Readiness
    } else {
        ProbeKind::Startup
    };
    let spec = container.spec.pointer(field(probe))?;
    if container.is_ready() {
        return None;
    }
    let begin = scene
        .expectation
        .since
        .map_or(running, |since| since.max(running));
    let failures: Vec<Event<'_>> = about(scene.observed, pod.value)
        .into_iter()
        .filter(|event| event.is_of(container.name) && event.last.is_some_and(|last| last >= begin))
        .collect();
    let symptom = symptom(scene, container, probe, &failures);
    let CauseKind::ProbeFailing { failures, .. } = symptom.kind else {
        return None;
    };
    let threshold = match count(spec, "/failureThreshold") {
        0 => THRESHOLD,
        set => set.unsigned_abs(),
    };
    let certain = match failures {
        0 => return None,
        few if few < threshold => Certain::AtDeadline,
        _ => Certain::At(later(begin, scene.expectation.ready_within)),
    };
    Some(Symptom { certain, ..symptom })
}

/// What the events say about a probe; the caller knows how certain it is.
pub(super) fn symptom(
    scene: &Scene<'_>,
    container: &Container<'_>,
    probe: ProbeKind,
    events: &[Event<'_>],
) -> Symptom {
    let begins = format!("{} probe ", word(probe));
    let failed: Vec<&Event<'_>> = events
        .iter()
        .filter(|event| event.reason == "Unhealthy" && event.message.contains(&begins))
        .collect();
    let message = failed.last().map_or("", |event| event.message);
    let spec = container.spec.pointer(field(probe)).unwrap_or(&Value::Null);
    let kind = CauseKind::ProbeFailing {
        probe,
        target: target(spec),
        message: message.to_owned(),
        failures: failed.iter().map(|event| event.count).sum(),
    };
    Symptom::new(kind, Certain::AtDeadline)
        .told_by(failed.last().copied())
        .behind(pointer::of_container(
            scene.workload,
            container.name,
            field(probe),
        ))
}

fn field(probe: ProbeKind) -> &'static str {
    match probe {
        ProbeKind::Readiness => "/readinessProbe",
        ProbeKind::Liveness => "/livenessProbe",
        ProbeKind::Startup => "/startupProbe",
    }
}

/// As kubelets spell it.
fn word(probe: ProbeKind) -> &'static str {
    match probe {
        ProbeKind::Readiness => "Readiness",
        ProbeKind::Liveness => "Liveness",
        ProbeKind::Startup => "Startup",
    }
}

/// `GET /readyz on port 8080`
fn target(probe: &Value) -> String {
    let port = |pointer: &str| match probe.pointer(pointer) {
        Some(Value::String(name)) => name.clone(),
        Some(number) => number.to_string(),
        None => String::new(),
    };
    if let Some(get) = probe.get("httpGet") {
        let path = match text(get, "/path") {
            "" => "/",
            path => path,
        };
        format!("GET {path} on port {}", port("/httpGet/port"))
    } else if probe.get("tcpSocket").is_some() {
        format!("connecting to port {}", port("/tcpSocket/port"))
    } else if probe.get("grpc").is_some() {
        format!("the gRPC health check on port {}", port("/grpc/port"))
    } else {
        let command = probe.pointer("/exec/command").and_then(Value::as_array);
        let words = command.into_iter().flatten().filter_map(Value::as_str);
        format!("`{}`", words.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets_are_named_as_users_write_them() {
        assert_eq!(
            target(&json!({"httpGet": {"path": "/readyz", "port": 8080}})),
            "GET /readyz on port 8080"
        );
        assert_eq!(
            target(&json!({"httpGet": {"port": "http"}})),
            "GET / on port http"
        );
        assert_eq!(
            target(&json!({"tcpSocket": {"port": 5432}})),
            "connecting to port 5432"
        );
        assert_eq!(
            target(&json!({"exec": {"command": ["pg_isready", "-q"]}})),
            "`pg_isready -q`"
        );
        assert_eq!(
            target(&json!({"grpc": {"port": 9000}})),
            "the gRPC health check on port 9000"
        );
    }
}
