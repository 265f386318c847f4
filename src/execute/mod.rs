//! Carrying out a plan: applying, waiting for what comes of it, deleting.

pub mod apply;
pub mod delete;
mod failure;
mod phase;
mod wait;
mod watch;

pub use wait::{Target, TimedOut, WaitError, until_ready};
pub use watch::{Watch, WatchError, snapshot_once};
