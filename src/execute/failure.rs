//! Why applying did not come to its end, and what was done before.

use std::fmt;

use k8s_model::ObjectRef;

use crate::cluster::{LockError, ObjectError};
use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::manifest::Origins;
use crate::stack::ServiceName;

use super::apply::{Applied, ApplyReport, NotReady};

/// The run was interrupted.
const INTERRUPTED: Code = Code::new("S0711");
/// An object that was to be replaced is still there.
const NOT_GONE: Code = Code::new("S0712");
/// A run that did not come to its end.
#[derive(Debug)]
pub struct ApplyError {
    /// What went wrong, the first failure first; empty where the run was only interrupted.
    pub failures: Vec<Failure>,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Services that were not started, or not waited for to the end.
    pub unfinished: Vec<ServiceName>,
    /// What was done before.
    pub report: ApplyReport,
}

/// One thing that went wrong.
pub enum Failure {
    /// An object could not be written.
    Object {
        /// Its service.
        service: Option<ServiceName>,
        /// Where its fields come from.
        origins: Origins,
        /// Why.
        error: ObjectError,
    },
    /// A service is not ready.
    NotReady {
        /// The service.
        service: ServiceName,
        /// Why.
        reason: NotReady,
    },
    /// An object that was to be replaced did not go.
    NotGone {
        /// The object.
        object: ObjectRef,
        /// What holds it.
        finalizers: Vec<String>,
    },
    /// The lock was lost.
    Lock(LockError),
}

impl Failure {
    pub(super) fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Object { service, .. } => service.as_ref(),
            Self::NotReady { service, .. } => Some(service),
            Self::NotGone { .. } | Self::Lock(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object { error, .. } => write!(f, "{error}"),
            Self::NotReady { reason, .. } => f.write_str(&first_message(reason.as_ref())),
            Self::NotGone { object, finalizers } => {
                write!(f, "{object} was deleted to be made anew and is still there")?;
                if finalizers.is_empty() {
                    Ok(())
                } else {
                    write!(f, "; it is held by {}", finalizers.join(", "))
                }
            }
            Self::Lock(error) => write!(f, "{error}"),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Explain for Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Object { error, .. } => error.exit(),
            Self::NotReady { reason, .. } => reason.exit(),
            Self::NotGone { .. } => Exit::TimedOut,
            Self::Lock(error) => error.exit(),
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Object { error, origins, .. } => error.diagnostics_at(origins),
            Self::NotReady { reason, .. } => reason.diagnostics(),
            Self::NotGone { .. } => vec![Diagnostic::error(NOT_GONE, self.to_string())],
            Self::Lock(error) => error.diagnostics(),
        }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failures.first() {
            Some(failure) => write!(f, "{failure}"),
            None => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for ApplyError {}

impl Explain for ApplyError {
    fn exit(&self) -> Exit {
        if self.interrupted {
            return Exit::Interrupted;
        }
        self.failures.first().map_or(Exit::Failed, Explain::exit)
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut problems: Vec<Diagnostic> = self
            .failures
            .iter()
            .flat_map(Explain::diagnostics)
            .collect();
        if self.interrupted {
            problems.insert(0, self.interruption());
        }
        problems
    }
}

impl ApplyError {
    fn interruption(&self) -> Diagnostic {
        let written: Vec<String> = self
            .report
            .applied
            .iter()
            .filter(|(_, applied)| *applied != Applied::Unchanged)
            .map(|(object, _)| object.to_string())
            .collect();
        let problem = Diagnostic::error(INTERRUPTED, "interrupted");
        let problem = if written.is_empty() {
            problem.note("nothing was applied")
        } else {
            problem.note(format!("applied before: {}", written.join(", ")))
        };
        let problem = if self.unfinished.is_empty() {
            problem
        } else {
            let names: Vec<&str> = self.unfinished.iter().map(ServiceName::as_str).collect();
            problem.note(format!("not finished: {}", names.join(", ")))
        };
        problem.hint("run the command again and it continues from there")
    }
}

/// What a failure says in one line.
pub(super) fn first_message(error: &dyn Explain) -> String {
    error
        .diagnostics()
        .into_iter()
        .next()
        .map(|problem| problem.message)
        .unwrap_or_default()
}
