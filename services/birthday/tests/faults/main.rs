//! PostgreSQL and the service are killed (SIGKILL) at moments that chance decides, over and over.
#![allow(clippy::unwrap_used)]

mod dates;
mod migrations;
mod process;
