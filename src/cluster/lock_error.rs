//! Why a run has no lock, or not any more.

use std::time::Duration;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::stack::Namespace;

/// Someone else holds the lock.
const HELD: Code = Code::new("S0621");
/// The lock was lost while a run needed it.
const LOST: Code = Code::new("S0622");
/// The lock could not be read or written.
const LOCK: Code = Code::new("S0623");

/// Why there is no lock, or not any more.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it and the wait is over.
    #[error("the lock is still held by {holder} after {} s", waited.as_secs())]
    Held {
        /// Who.
        holder: String,
        /// For how long this run waited.
        waited: Duration,
    },
    /// The run was interrupted while waiting.
    #[error("interrupted while waiting for the lock held by {holder}")]
    Interrupted {
        /// Who holds it.
        holder: String,
    },
    /// The namespace is not there yet.
    #[error("namespace `{0}` does not exist")]
    NoNamespace(Namespace),
    /// Another run took the lock over, because this one did not renew it in time.
    #[error("the lock was taken over by {by}")]
    TakenOver {
        /// Who.
        by: String,
    },
    /// The lease was deleted.
    #[error("the lock was deleted by someone else")]
    Deleted,
    /// The lease could not be renewed for so long that others may take it.
    #[error("the lock could not be renewed for {} s: {reason}", .since.as_secs())]
    NotRenewed {
        /// Since the last renewal.
        since: Duration,
        /// Why not.
        reason: String,
    },
    /// The lease could not be read or written.
    #[error("the lock `Lease/{name}` cannot be taken: {reason}")]
    Failed {
        /// Name of the lease.
        name: String,
        /// Why not.
        reason: String,
    },
}

impl Explain for LockError {
    fn exit(&self) -> Exit {
        match self {
            Self::Held { .. } => Exit::TimedOut,
            Self::Interrupted { .. } => Exit::Interrupted,
            Self::TakenOver { .. } | Self::Deleted => Exit::Conflict,
            Self::NoNamespace(_) | Self::NotRenewed { .. } | Self::Failed { .. } => Exit::Failed,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let problem = |code| Diagnostic::error(code, self.to_string());
        vec![match self {
            Self::Held { .. } | Self::Interrupted { .. } => problem(HELD)
                .hint("wait for the other run to end; a run that was killed is forgotten after a minute"),
            Self::TakenOver { .. } | Self::Deleted | Self::NotRenewed { .. } => problem(LOST)
                .hint("what was applied stays; run the command again and it continues from there"),
            Self::NoNamespace(_) => problem(LOCK),
            Self::Failed { .. } => problem(LOCK).hint(
                "the rights to get, create, update and delete leases in group coordination.k8s.io are needed",
            ),
        }]
    }
}
