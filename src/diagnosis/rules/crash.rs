//! Programs that do not keep running.

use super::super::cause::{CauseKind, ProbeKind};
use super::super::event::{Event, about};
use super::super::observed::text;
use super::super::pod::{Container, End, Pod};
use super::{Certain, Scene, Symptom, pointer, probe};

/// The first end is forgiven: a service may come up before what it needs. A container that is ready is well,
/// whatever its past. In a Job the controller decides how many ends are too many.
pub(super) fn ends(scene: &Scene<'_>, pod: &Pod<'_>, container: &Container<'_>) -> Option<Symptom> {
    let end = container.last_end()?;
    let success = end.code == 0 && (container.init || scene.is_job());
    if container.is_ready() || success {
        return None;
    }
    let runs = container.finished_runs();
    let certain = if runs < 2 || scene.is_job() {
        Certain::AtDeadline
    } else {
        scene.unless_stale(pod, end.at, Certain::Now)
    };
    let events = about(scene.observed, pod.value);
    let events: Vec<Event<'_>> = events
        .into_iter()
        .filter(|event| event.is_of(container.name))
        .collect();
    if let Some((probe, killing)) = killed_by(&events) {
        let symptom = probe::symptom(scene, container, probe, &events);
        return Some(Symptom {
            certain,
            ..symptom.told_by(Some(killing))
        });
    }
    let (kind, field) = what_happened(container, end, runs);
    let field = pointer::of_container(scene.workload, container.name, field);
    Some(Symptom::new(kind, certain).said(end.message).behind(field))
}

fn what_happened(container: &Container<'_>, end: End<'_>, runs: u64) -> (CauseKind, &'static str) {
    if end.reason == "OOMKilled" {
        let limit = text(container.spec, "/resources/limits/memory");
        let limit = (!limit.is_empty()).then(|| limit.to_owned());
        (CauseKind::OutOfMemory { limit }, "/resources/limits/memory")
    } else if end.code == 0 {
        (CauseKind::Ends { runs }, "/command")
    } else {
        (
            CauseKind::Crashes {
                code: end.code,
                runs,
            },
            "/command",
        )
    }
}

/// The probe for which the kubelet killed the container.
fn killed_by<'e, 'a>(events: &'e [Event<'a>]) -> Option<(ProbeKind, &'e Event<'a>)> {
    let killing = events.iter().rfind(|event| event.reason == "Killing")?;
    if killing.message.contains("failed liveness probe") {
        Some((ProbeKind::Liveness, killing))
    } else if killing.message.contains("failed startup probe") {
        Some((ProbeKind::Startup, killing))
    } else {
        None
    }
}
