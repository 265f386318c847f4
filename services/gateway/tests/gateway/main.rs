//! The gateway as its image runs it, in front of services that say what reached them.
#![allow(clippy::unwrap_used)]

mod auth;
mod clients;
mod config;
mod rate;
mod refusals;
mod routes;
mod shutdown;

/// Ends the test where HAProxy is not installed and that was asked for.
macro_rules! start {
    ($variables:expr) => {
        match gateway::Gateway::start($variables).await {
            Some(gateway) => gateway,
            None => return,
        }
    };
}
pub(crate) use start;
