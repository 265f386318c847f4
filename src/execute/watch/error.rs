//! Why a namespace cannot be watched.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};

const FORBIDDEN: Code = Code::new("S0820");
const LOST: Code = Code::new("S0821");
const NOT_WATCHED: Code = Code::new("S0822");
const BLIND: Code = Code::new("S0823");

/// Why a namespace cannot be watched. Clones share their source: one watch serves many waits.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WatchError {
    /// The API server refuses (401, 403).
    #[error("the cluster does not allow to watch {plural} in namespace `{namespace}`")]
    Forbidden {
        /// Such as `pods`.
        plural: &'static str,
        /// The namespace.
        namespace: String,
        /// What the API server said.
        source: Arc<watcher::Error>,
    },
    /// No answer, or only errors, for a while.
    #[error("the connection to the cluster was lost {} s ago and did not come back", after.as_secs())]
    Lost {
        /// For how long.
        after: Duration,
        /// The last failure.
        source: Arc<watcher::Error>,
    },
    /// Nobody knows when objects of this kind are ready.
    #[error("{kind} is not a kind of workload that can be waited for")]
    NotWatched {
        /// The kind.
        kind: String,
    },
}

impl Explain for WatchError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![match self {
            Self::Forbidden {
                plural,
                namespace,
                source,
            } => Diagnostic::error(FORBIDDEN, self.to_string())
                .note(words(source))
                .hint(format!(
                    "`kubectl auth can-i watch {plural} -n {namespace}` must say yes"
                )),
            Self::Lost { source, .. } => Diagnostic::error(LOST, self.to_string())
                .note(words(source))
                .hint("what was applied stays applied; run the command again"),
            Self::NotWatched { .. } => Diagnostic::error(NOT_WATCHED, self.to_string()),
        }]
    }
}

/// What is missing where a kind that helps cannot be read.
pub(super) fn blind(plural: &str, namespace: &str, tells: &str) -> Diagnostic {
    Diagnostic::warning(
        BLIND,
        format!(
            "{plural} of namespace `{namespace}` cannot be read, so it may not be told {tells}"
        ),
    )
    .hint(format!("allow `get`, `list` and `watch` of {plural}"))
}

/// Whether the API server has refused, and will again.
pub(super) fn is_refusal(error: &watcher::Error) -> bool {
    code(error).is_some_and(|code| code == 401 || code == 403)
}

/// Whether the history that was to be continued is gone: an ordinary event in a long watch.
pub(super) fn is_gone(error: &watcher::Error) -> bool {
    code(error) == Some(410)
}

fn code(error: &watcher::Error) -> Option<u16> {
    use watcher::Error;
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status))
        | Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// The API server's own words, else the innermost cause: kube's messages repeat their causes.
fn words(error: &watcher::Error) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
