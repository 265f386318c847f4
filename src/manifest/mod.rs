//! Kubernetes objects as data: where every field comes from, and the checks that need no cluster.

mod check;
mod complete;
mod config_digest;
mod fit;
mod kinds;
mod labels;
mod object;
mod order;
mod pod;
mod references;
#[cfg(test)]
pub(crate) mod sample;
mod schema;
mod security;
mod targets;
mod versions;
mod write;

pub use check::check;
pub use complete::{complete, namespace};
pub use config_digest::CONFIG_DIGEST;
pub use kinds::{Scope, scope};
pub use labels::{INSTANCE, MANAGED_BY, MANAGER, NAME, PART_OF, labels};
pub use object::{Object, Origin, Origins};
pub use order::{is_prerequisite, is_workload, rank};
pub use security::{ALLOW, RULES, Rule};
pub use versions::{Served, adapt};
pub use write::{YamlOptions, yaml};
