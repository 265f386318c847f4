//! `upload` from its forms to what is stored: in-process, over each kind of
//! store, and as a real process that is killed.
#![allow(clippy::unwrap_used)]

mod clients;
mod crash;
mod handoff;
mod jobs;
mod memory;
mod openapi;
mod process;
mod refusals;
mod s3;
mod simulate;
mod start;
mod stores;
mod support;
mod uploads;
