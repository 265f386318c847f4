//! Which container's log tells more.

use k8s_model::ObjectRef;

use super::cause::{Cause, CauseKind, ProbeKind};
use super::observed::Observed;
use super::pod::{Container, Pod, State};
use super::revision;

/// Where log lines are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSource {
    /// The pod's name.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Whether the run before the current one is meant (`previous` of the API).
    pub previous: bool,
}

impl LogSource {
    /// The log behind a cause; none where no program ran.
    #[must_use]
    pub fn of_cause(observed: &Observed, cause: &Cause) -> Option<Self> {
        let ended = match &cause.kind {
            CauseKind::Crashes { .. } | CauseKind::OutOfMemory { .. } | CauseKind::Ends { .. } => {
                true
            }
            CauseKind::ProbeFailing { probe, .. } => *probe != ProbeKind::Readiness,
            _ => return None,
        };
        let reference = cause.chain.iter().find(|object| object.gvk.kind == "Pod")?;
        let name = cause.container.as_deref()?;
        let pod = Pod::new(observed.find(reference)?);
        let container = pod.containers().find(|container| container.name == name)?;
        Some(Self::of(&pod, &container, ended))
    }

    /// The log of a container that runs and is not ready, for a workload without a known cause.
    #[must_use]
    pub fn of_silent(observed: &Observed, workload: &ObjectRef) -> Option<Self> {
        let revision = revision::of(observed, observed.find(workload)?);
        revision.pods.iter().find_map(|pod| {
            let container = pod.containers().find(|container| {
                let runs = matches!(container.state(), State::Running { .. });
                runs && (container.init || !container.is_ready())
            })?;
            Some(Self::of(pod, &container, false))
        })
    }

    fn of(pod: &Pod<'_>, container: &Container<'_>, ended: bool) -> Self {
        // Until the next run begins, the one that ended is the current one.
        let running = matches!(container.state(), State::Running { .. });
        Self {
            pod: pod.name().to_owned(),
            container: container.name.to_owned(),
            previous: ended && running,
        }
    }
}
