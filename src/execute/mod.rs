//! Carrying out a plan: writing objects and waiting for what comes of them.

mod wait;
mod watch;

pub use wait::{Target, TimedOut, WaitError, until_ready};
pub use watch::{Watch, WatchError, snapshot_once};
