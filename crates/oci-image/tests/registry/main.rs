//! The registry client against a registry that does as it is told, faults included.

#![allow(clippy::unwrap_used, reason = "tests")]

mod faults;
mod image;
mod insecure;
mod login;
mod protocol;
mod pull;
mod push;
mod real;
mod referrers;
mod server;
mod tls;
