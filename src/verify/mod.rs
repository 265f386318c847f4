//! Proof that what runs is what was meant: the checks of `services/<name>/smoke.yaml`.
//!
//! [`load`] reads and checks the files, [`run`] sends the requests and gives a [`SmokeReport`] as data,
//! [`junit`], [`json`] and [`github`] write that down for machines.

mod assert;
#[cfg(test)]
mod fixture;
mod load;
mod matcher;
mod names;
mod parse;
mod path;
mod pattern;
mod reach;
mod reader;
mod report;
mod request;
mod result;
mod scope;
mod smoke;
mod spec;
mod template;

pub use assert::Failure;
pub use load::{Loaded, load};
pub use reach::{BaseUrl, Reach, ReachError, ThroughCluster};
pub use report::{github, json, junit};
pub use result::{CheckReport, Outcome, SmokeFailed, SmokeReport, SuiteReport};
pub use scope::UnusableSecret;
pub use smoke::{RunError, run};
pub use spec::{Check, Suite};
