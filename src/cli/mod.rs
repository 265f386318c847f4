//! What can be typed: clap structs and nothing else. `settings` decides what it means.

mod commands;
mod global;

pub use commands::*;
pub use global::{Global, OutputFormat, ProgressMode};

use clap::{Parser, Subcommand};

/// The exit codes, as `stackctl --help` tells them.
const EXIT_CODES: &str = "Exit codes:
  0  done                                  6  timed out, and the cause is not known
  1  no Docker, no cluster, build failed   7  a smoke test failed
  2  bad input                             9  refused by a guard
  4  conflict with another manager       130  interrupted
  5  not ready, and the cause is known";

/// Builds, deploys and proves a stack of Rust services on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "stackctl", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What stackctl can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build, deliver, deploy and smoke-test: the main job in one line
    Up(Up),
    /// Build the images that changed
    Build(Build),
    /// Write the manifests of an environment
    Render(Render),
    /// Check everything that can be checked without a cluster
    Validate(Validate),
    /// Apply the manifests and wait until all is ready
    Deploy(Deploy),
    /// Show what runs
    Status(Status),
    /// Show what the services write
    Logs(Logs),
    /// Make the services reachable on this machine
    PortForward(PortForward),
    /// Run the checks of services/*/smoke.yaml
    SmokeTest(SmokeTest),
    /// Delete what was deployed; data stays
    Down(Down),
    /// Write a first stack of two services
    Init(Init),
}
