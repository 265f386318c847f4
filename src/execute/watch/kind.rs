//! What is watched.

use kube::core::{ApiResource, GroupVersionKind};

/// A kind that says something about how a stack is.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    /// Whether its objects carry the labels of the stack.
    pub(super) labelled: bool,
    /// What cannot be told without it; none where a wait cannot do without it.
    pub(super) tells: Option<&'static str>,
}

/// All of them. Claims made from a StatefulSet's templates carry only the labels of its selector, and
/// events none: those are watched in the whole namespace and matched by name and owner.
pub(super) static KINDS: [Kind; 8] = [
    labelled("apps", "Deployment", "deployments"),
    labelled("apps", "StatefulSet", "statefulsets"),
    labelled("apps", "DaemonSet", "daemonsets"),
    labelled("batch", "Job", "jobs"),
    labelled("apps", "ReplicaSet", "replicasets"),
    labelled("", "Pod", "pods"),
    Kind {
        labelled: false,
        tells: Some("why a volume is missing"),
        ..labelled("", "PersistentVolumeClaim", "persistentvolumeclaims")
    },
    Kind {
        labelled: false,
        tells: Some("why an image, a volume or a probe fails"),
        ..labelled("", "Event", "events")
    },
];

const fn labelled(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind {
        group,
        version: "v1",
        kind,
        plural,
        labelled: true,
        tells: None,
    }
}

impl Kind {
    pub(super) fn resource(&self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }

    pub(super) fn named(kind: &str) -> Option<&'static Self> {
        KINDS.iter().find(|known| known.kind == kind)
    }
}
