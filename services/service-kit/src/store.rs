//! Where a service keeps its data, as it says so itself.

use serde::Serialize;
use utoipa::ToSchema;

/// A store, and whether it is the service's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Store {
    /// What is in it, such as `counters`.
    name: &'static str,
    /// Where it is, such as `Redis`, `memory` or `the folder /data`.
    place: String,
    /// Whether it lives and ends with this process or this machine: for trying things out.
    embedded: bool,
}

impl Store {
    /// A server, or a volume that outlives the process.
    pub fn external(name: &'static str, place: impl Into<String>) -> Self {
        Self {
            name,
            place: place.into(),
            embedded: false,
        }
    }

    /// The default where none is configured, outside Kubernetes.
    pub fn embedded(name: &'static str, place: impl Into<String>) -> Self {
        Self {
            embedded: true,
            ..Self::external(name, place)
        }
    }

    /// Says at start what nobody should find out later.
    pub(crate) fn announce(&self) {
        let Self { name, place, .. } = self;
        match self.embedded {
            true => tracing::warn!(store = name, place, "embedded store, not for production"),
            false => tracing::info!(store = name, place, "store"),
        }
    }
}
