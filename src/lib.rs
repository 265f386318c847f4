//! stackctl: builds, deploys and proves a stack of Rust services on Kubernetes.
//!
//! Modules in layer order; none imports one below it in this list.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod diagnostic;

pub mod event;
pub mod secret;
pub mod yaml;

pub mod stack;

pub mod manifest;

pub mod image;

pub mod delivery;
