//! Log lines of a stack's containers: those of the past in the order of time, those to come as they come.

mod follow;
mod line;
mod merge;
mod open;
mod select;

#[cfg(test)]
mod fake;

pub use open::{LogError, LogQuery, LogStream, open};

use k8s_openapi::jiff::Timestamp;

use crate::stack::ServiceName;

/// A container whose lines are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The service it is part of.
    pub service: ServiceName,
    /// Its pod.
    pub pod: String,
    /// Its name in the pod.
    pub container: String,
}

/// A line that a container wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Who.
    pub source: Source,
    /// When, by its node's clock.
    pub time: Timestamp,
    /// Without the line break; bytes that are no UTF-8 are replaced. A line of more than 64 KiB comes
    /// in pieces of the same time.
    pub text: String,
}

/// What happens to the containers that are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// The lines of a container follow.
    Attached(Source),
    /// The container has ended, with its exit code where that is known.
    Detached(Source, Option<i32>),
    /// The lines of a container cannot be had; the reason in words.
    Unavailable(Source, String),
}

/// An item of a [`LogStream`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// A line.
    Line(LogLine),
    /// News about a container.
    Event(LogEvent),
}
