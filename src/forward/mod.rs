//! Ports of services on this machine: a local listener per port, one upstream stream per connection.
//!
//! A connection that breaks harms no other one, and none of them harms the listener. Pods are picked
//! per connection among those that are ready, so that a redeploy looks like a short pause.

mod connection;
mod copy;
mod dial;
mod forwarder;
mod holder;
mod pods;
mod serve;
mod watch;

pub use forwarder::{ForwardError, Forwarder, Target};
pub use serve::{Forward, ServeError, declared, serve};
