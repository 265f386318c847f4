//! Doubles for tests: what a program talks to, played in-process behind its real client.

pub mod docker;
pub mod kubernetes;
pub mod nodes;
pub mod registry;
mod session;
