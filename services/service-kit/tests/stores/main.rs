//! The connections to PostgreSQL and Redis, over real servers.
#![allow(clippy::unwrap_used)]

mod postgres;
mod redis;
mod vanished;
