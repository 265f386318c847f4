//! A pod and its containers, read.

use jiff::Timestamp;
use k8s_model::ObjectRef;
use serde_json::Value;

use super::observed::{is_owned_by, list, text, time};
use crate::readiness::condition;

/// A live pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod<'a> {
    /// The object.
    pub(super) value: &'a Value,
}

/// A container of a pod: its specification and its status.
#[derive(Clone, Copy, Debug)]
pub(super) struct Container<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// As the pod specifies it.
    pub(super) spec: &'a Value,
    /// Whether it has to end before the others start.
    pub(super) init: bool,
    status: Option<&'a Value>,
}

/// What a container does right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State<'a> {
    /// Not started, or between two runs.
    Waiting {
        /// A word such as `ImagePullBackOff`.
        reason: &'a str,
        /// A sentence, often empty.
        message: &'a str,
    },
    /// Running.
    Running {
        /// Since when.
        since: Option<Timestamp>,
    },
    /// Its last run is over.
    Ended(End<'a>),
    /// The kubelet has not reported it.
    Unknown,
}

/// How one run of a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End<'a> {
    /// The exit code; 128 + n for signal n.
    pub(super) code: i64,
    /// A word such as `Error`, `OOMKilled`, `ContainerCannotRun`.
    pub(super) reason: &'a str,
    /// Of the runtime, or the termination message of the program.
    pub(super) message: &'a str,
    /// When.
    pub(super) at: Option<Timestamp>,
}

impl<'a> Pod<'a> {
    pub(super) fn new(value: &'a Value) -> Self {
        Self { value }
    }

    pub(super) fn name(&self) -> &'a str {
        text(self.value, "/metadata/name")
    }

    pub(super) fn reference(&self) -> Option<ObjectRef> {
        ObjectRef::of(self.value)
    }

    pub(super) fn created(&self) -> Option<Timestamp> {
        time(self.value, "/metadata/creationTimestamp")
    }

    pub(super) fn label(&self, key: &str) -> Option<&'a str> {
        self.value.pointer("/metadata/labels")?.get(key)?.as_str()
    }

    pub(super) fn is_owned_by(&self, owner: &Value) -> bool {
        is_owned_by(self.value, owner)
    }

    pub(super) fn is_leaving(&self) -> bool {
        !text(self.value, "/metadata/deletionTimestamp").is_empty()
    }

    pub(super) fn has_failed(&self) -> bool {
        text(self.value, "/status/phase") == "Failed"
    }

    pub(super) fn is_scheduled(&self) -> bool {
        !text(self.value, "/spec/nodeName").is_empty()
    }

    pub(super) fn is_ready(&self) -> bool {
        condition(self.value, "Ready").is_some_and(|ready| ready.holds)
    }

    /// When it became ready, where it is.
    pub(super) fn ready_since(&self) -> Option<Timestamp> {
        condition(self.value, "Ready")
            .filter(|ready| ready.holds)?
            .since
    }

    /// The init containers, then the others.
    pub(super) fn containers(&self) -> impl Iterator<Item = Container<'a>> + use<'a> {
        let value = self.value;
        let of = move |specs: &str, statuses: &str, init: bool| {
            let statuses = list(value, statuses);
            list(value, specs).iter().map(move |spec| {
                let name = text(spec, "/name");
                // An init container that is always restarted is a sidecar: it keeps running.
                let init = init && text(spec, "/restartPolicy") != "Always";
                let status = statuses.iter().find(|status| text(status, "/name") == name);
                Container {
                    name,
                    spec,
                    init,
                    status,
                }
            })
        };
        of(
            "/spec/initContainers",
            "/status/initContainerStatuses",
            true,
        )
        .chain(of("/spec/containers", "/status/containerStatuses", false))
    }

    /// When the last of its containers started to run; none before all of them do.
    pub(super) fn running_since(&self) -> Option<Timestamp> {
        let mut latest = None;
        for container in self.containers().filter(|container| !container.init) {
            let State::Running { since: Some(since) } = container.state() else {
                return None;
            };
            latest = latest.max(Some(since));
        }
        latest
    }

    /// The names of the claims it mounts.
    pub(super) fn claims(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        list(self.value, "/spec/volumes")
            .iter()
            .map(|volume| text(volume, "/persistentVolumeClaim/claimName"))
            .filter(|claim| !claim.is_empty())
    }
}

impl<'a> Container<'a> {
    pub(super) fn image(&self) -> &'a str {
        text(self.spec, "/image")
    }

    pub(super) fn is_ready(&self) -> bool {
        self.flag("/ready")
    }

    /// Whether its startup probe, if it has one, has passed.
    pub(super) fn has_started(&self) -> bool {
        self.flag("/started")
    }

    pub(super) fn restarts(&self) -> u64 {
        self.status
            .and_then(|status| status.pointer("/restartCount")?.as_u64())
            .unwrap_or(0)
    }

    pub(super) fn state(&self) -> State<'a> {
        let Some(state) = self.status.and_then(|status| status.get("state")) else {
            return State::Unknown;
        };
        if let Some(waiting) = state.get("waiting") {
            State::Waiting {
                reason: text(waiting, "/reason"),
                message: text(waiting, "/message"),
            }
        } else if let Some(running) = state.get("running") {
            State::Running {
                since: time(running, "/startedAt"),
            }
        } else if let Some(end) = state.get("terminated") {
            State::Ended(End::new(end))
        } else {
            State::Unknown
        }
    }

    /// How its last finished run ended.
    pub(super) fn last_end(&self) -> Option<End<'a>> {
        if let State::Ended(end) = self.state() {
            return Some(end);
        }
        self.status?.pointer("/lastState/terminated").map(End::new)
    }

    /// How many of its runs are over. `restartCount` grows when a run begins, so between two runs one more
    /// is over than it says.
    pub(super) fn finished_runs(&self) -> u64 {
        let between = match self.state() {
            State::Ended(_) => true,
            State::Waiting { .. } => self.last_end().is_some(),
            State::Running { .. } | State::Unknown => false,
        };
        self.restarts() + u64::from(between)
    }

    fn flag(&self, pointer: &str) -> bool {
        self.status.and_then(|status| status.pointer(pointer)) == Some(&Value::Bool(true))
    }
}

impl<'a> End<'a> {
    fn new(terminated: &'a Value) -> Self {
        Self {
            code: terminated
                .pointer("/exitCode")
                .and_then(Value::as_i64)
                .unwrap_or(0),
            reason: text(terminated, "/reason"),
            message: text(terminated, "/message"),
            at: time(terminated, "/finishedAt"),
        }
    }
}
