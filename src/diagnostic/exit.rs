//! The exit codes of the program; part of its interface.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// All done.
    Done = 0,
    /// No Docker, no cluster, a failed build, and anything without a code of its own.
    Failed = 1,
    /// A file, a flag or a value is wrong.
    BadInput = 2,
    /// `plan` found changes.
    ChangesPending = 3,
    /// Another manager owns a field, or the live objects are not the planned ones.
    Conflict = 4,
    /// A workload is not ready and the cause is known.
    NotReady = 5,
    /// A deadline passed and the cause is not known.
    TimedOut = 6,
    /// A smoke test failed.
    SmokeFailed = 7,
    /// A load or availability threshold was missed.
    ThresholdMissed = 8,
    /// A guard refused: a pinned cluster, a protected environment.
    Refused = 9,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
