//! One file for each command: it loads, calls the engines in order, and returns an [`Outcome`]. No clap type,
//! no printing, no Kubernetes detail.

mod attach;
pub mod build;
mod connect;
pub mod deploy;
pub mod down;
mod guards;
pub mod init;
pub mod logs;
mod measured;
mod places;
pub mod port_forward;
mod prepare;
mod ready;
pub mod render;
mod rollout;
pub mod smoke_test;
pub mod status;
pub mod up;
pub mod validate;
mod workshop;

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::event::EventSink;
use crate::execute::delete::DeleteReport;
use crate::plan::Plan;
use crate::timings::Timings;
use crate::verify::SmokeReport;

pub use measured::Measured;
pub use rollout::RolledOut;

/// Ctrl-C.
const INTERRUPTED: Code = Code::new("S0001");

/// What a command works with.
#[derive(Clone)]
pub struct Env {
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Cancelled by Ctrl-C.
    pub cancel: CancellationToken,
    /// Whether programs that are run for the user may colour their output.
    pub color: bool,
    /// What measures where the time goes.
    pub timings: Timings,
}

/// What came of a command.
#[derive(Debug)]
pub enum Outcome {
    /// `init`
    Initialised(init::Initialised),
    /// `build`
    Built(build::Built),
    /// `render` to stdout
    Rendered(String),
    /// `render` to files
    Written(Vec<PathBuf>),
    /// `validate`
    Validated(validate::Validated),
    /// `deploy --dry-run`
    Planned(Plan),
    /// `deploy`
    Deployed(RolledOut),
    /// `up`
    Up(up::Up),
    /// `smoke-test`
    Smoked(SmokeReport),
    /// `status`
    Status(status::Status),
    /// `down`
    Deleted(DeleteReport),
    /// `logs`, `port-forward`: all was said on the way
    Ended,
}

impl Outcome {
    /// The exit code of a command that ended with this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Status(status) if !status.is_ready() => Exit::NotReady,
            _ => Exit::Done,
        }
    }
}

/// Why a command failed: the exit code and what to tell the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// The exit code.
    pub exit: Exit,
    /// What to draw.
    pub diagnostics: Vec<Diagnostic>,
}

impl<E: Explain> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self {
            exit: error.exit(),
            diagnostics: error.diagnostics(),
        }
    }
}

/// The end of a command that Ctrl-C cut short.
fn interrupted() -> CommandError {
    CommandError {
        exit: Exit::Interrupted,
        diagnostics: vec![Diagnostic::error(INTERRUPTED, "interrupted")],
    }
}
