//! Access to a cluster: which one, what it serves, its objects, the lock and the secrets of a stack.
//!
//! Everything talks through one [`kube::Client`]; tests put a scripted router behind it.

mod certificate;
mod client;
mod connect;
mod connect_error;
mod discovery;
mod error;
mod field;
mod inventory;
mod lock;
mod lock_error;
#[cfg(test)]
pub(crate) mod model_for_tests;
mod nodes;
mod objects;
mod observe;
mod process;
mod retry;
mod reveal;
mod secrets;
mod status;

pub use connect::{Cluster, connect, connect_with};
pub use connect_error::ConnectError;
pub use discovery::{DiscoveryError, Kinds, Resource, discover, discover_all};
pub use error::{FieldConflict, FieldProblem, ObjectError, ObjectErrors, Reason, Verb};
pub(crate) use inventory::{INSTANCE, MANAGED_BY, PART_OF, STACKCTL, labelled};
pub use inventory::{Owned, generated_secret_name, is_bookkeeping, lease_name, owned};
pub use lock::{Lock, LockOptions, acquire};
pub use lock_error::LockError;
pub use nodes::NodeFacts;
pub use objects::{ApplyOptions, Deleted, FIELD_MANAGER, Objects};
pub use observe::{Observed, observe};
pub use reveal::{HashKey, RevealError, reveal_all};
pub use secrets::{
    ResolvedSecrets, SecretError, SourceError, SourceReason, check_sources, current, resolve,
};
