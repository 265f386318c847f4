//! Whether an object does what it is there for: pure functions of the object, one file per kind.

mod condition;
mod custom;
mod daemon_set;
mod deployment;
mod job;
mod persistent_volume_claim;
mod pod;
mod service;
mod stateful_set;

use std::fmt;

use k8s_model::Gvk;
use serde_json::Value;

pub(crate) use condition::{condition, count, unobserved};

/// What an object's own status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It does what it is there for.
    Ready,
    /// Not yet; nothing says that it will not.
    Waiting(Reason),
    /// Its controller has given up on it.
    Failed(Reason),
}

/// Why an object is not ready: a lower-case fragment such as `1/2 ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// From a fragment without a full stop.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The fragment.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Readiness {
    /// [`Readiness::Waiting`] with a fragment.
    pub(crate) fn waiting(reason: impl Into<String>) -> Self {
        Self::Waiting(Reason::new(reason))
    }

    /// [`Readiness::Failed`] with a fragment.
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(Reason::new(reason))
    }
}

/// Judges a live object; kinds without a notion of readiness are ready when they exist.
#[must_use]
pub fn of(object: &Value) -> Readiness {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let gvk = Gvk::new(text("apiVersion"), text("kind"));
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("apps", "Deployment") => deployment::readiness(object),
        ("apps", "StatefulSet") => stateful_set::readiness(object),
        ("apps", "DaemonSet") => daemon_set::readiness(object),
        ("batch", "Job") => job::readiness(object),
        ("", "Pod") => pod::readiness(object),
        ("", "PersistentVolumeClaim") => persistent_volume_claim::readiness(object),
        ("", "Service") => service::readiness(object),
        _ => custom::readiness(object),
    }
}
