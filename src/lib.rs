//! stackctl: builds, deploys and proves a stack of Rust services on Kubernetes.
//!
//! Modules in layer order; none imports one below it in this list. See `ARCHITECTURE.md`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod diagnostic;
pub mod name;

pub mod event;
pub mod secret;
pub mod yaml;

pub mod stack;

pub mod cluster;
pub mod manifest;
pub mod readiness;

pub mod diagnosis;
pub mod template;

pub mod plan;

pub mod forward;

pub mod verify;

pub mod cli;
pub mod settings;

pub mod commands;

pub mod ui;

use std::ffi::OsString;

use clap::Parser;

use crate::diagnostic::Exit;

/// The whole program: arguments in, exit code out.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match cli::Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to be told when the streams are gone.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::BadInput
            } else {
                Exit::Done
            };
        }
    };
    let _ = cli;
    Exit::Done
}
