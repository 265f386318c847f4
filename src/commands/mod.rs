//! One file for each command: it loads, calls the engines in order, and returns an [`Outcome`]. No clap type,
//! no printing, no Kubernetes detail.

pub mod init;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::diagnostic::{Diagnostic, Exit, Explain};
use crate::event::EventSink;

/// What a command works with.
#[derive(Clone)]
pub struct Env {
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Cancelled by Ctrl-C.
    pub cancel: CancellationToken,
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
