//! stackctl: builds, deploys and proves a stack of Rust services on Kubernetes.
//!
//! Modules in layer order; none imports one below it in this list. See `ARCHITECTURE.md`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod diagnostic;
pub mod name;

pub mod event;
pub mod secret;
pub mod timings;
pub mod yaml;

pub mod attest;
pub mod stack;

pub mod cluster;
pub mod image;
pub mod manifest;
pub mod readiness;

pub mod diagnosis;
pub mod template;

pub mod delivery;
pub mod plan;

pub mod execute;
pub mod forward;
pub mod logs;

pub mod verify;

pub mod cli;
pub mod settings;

pub mod commands;

pub mod ui;

mod run;

pub use run::run;
