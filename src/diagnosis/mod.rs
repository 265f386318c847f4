//! Why a workload is not ready: from objects and events to one named cause. Pure; time is a value.
//!
//! [`diagnose`] looks at a snapshot and at what is expected, and says `Ready`, `Waiting` (with the next moment
//! at which time alone can change the answer), `Broken` with a [`Cause`], or `TimedOut`. Causes are found by
//! small rules (`rules/`), each over one pod or one container, and only pods of the workload's current
//! revision count.

#[cfg(test)]
mod cases;
mod cause;
mod deadline;
mod event;
mod explain;
#[cfg(test)]
pub(crate) mod fixture;
mod log_source;
mod observed;
mod pod;
mod progress;
mod revision;
mod rules;
mod summary;
mod verdict;

pub use cause::{Cause, CauseKind, ProbeKind};
pub use deadline::{SETTLING, START_ALLOWANCE};
pub use log_source::LogSource;
pub use observed::Observed;
pub use summary::{ServiceState, ServiceStatus, summary};
pub use verdict::{Expectation, Verdict, diagnose};
