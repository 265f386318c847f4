//! Doing what was planned: applying, waiting, deleting.

pub mod apply;
pub mod delete;
mod failure;
mod phase;
