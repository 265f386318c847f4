//! The stack's gateway as a process on loopback: the very entrypoint and configuration of its image, with services
//! that say what they were asked. For tests alone; the gateway itself is HAProxy.

mod client;
mod process;
mod stub;

pub use client::{Client, answer, request};
pub use process::{Gateway, refused};
pub use stub::Stub;
