//! What every service of the stack shares, so that a service is its own logic
//! and nothing else: configuration from the environment, JSON logs, health and
//! readiness, metrics, problem answers and a shutdown that drops no request.
//!
//! ```no_run
//! use service_kit::{Kit, Reader, StartError, Unusable, about, run};
//! use utoipa_axum::{router::OpenApiRouter, routes};
//!
//! struct Config;
//!
//! fn configure(_: &mut Reader<'_>) -> Result<Config, Unusable> {
//!     Ok(Config)
//! }
//!
//! /// Says hello.
//! #[utoipa::path(get, path = "/hello", responses((status = 200, body = String)))]
//! async fn hello() -> &'static str {
//!     "hello"
//! }
//!
//! async fn start(_: Config, _: &mut Kit) -> Result<OpenApiRouter, StartError> {
//!     Ok(OpenApiRouter::new().routes(routes!(hello)))
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     run(about!(), configure, start)
//! }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod about;
mod client;
pub mod config;
mod extract;
mod health;
#[cfg(feature = "https")]
pub mod https;
mod kit;
mod lifecycle;
mod logging;
mod metrics;
mod openapi;
#[cfg(feature = "postgres")]
pub mod postgres;
mod problem;
#[cfg(feature = "redis")]
pub mod redis;
mod requests;
mod run;
mod sending;
mod serve;
mod settings;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use prometheus_client;

pub use crate::about::{About, TOOLCHAIN};
pub use crate::client::{ClientAddress, RateLimit};
pub use crate::config::{Reader, Unusable, Variable};
pub use crate::extract::{JsonBody, PathParams, QueryParams};
pub use crate::kit::Kit;
pub use crate::lifecycle::Lifecycle;
pub use crate::problem::{Problem, chain};
pub use crate::requests::RequestId;
pub use crate::run::{StartError, run};
pub use crate::serve::serve;
pub use crate::settings::Settings;
pub use crate::store::Store;
