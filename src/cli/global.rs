//! Options that every command takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Look for stack.yaml in this folder or above it, instead of the current one
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// Talk to the cluster of this kubeconfig context
    #[arg(long, value_name = "CONTEXT", env = "STACKCTL_CLUSTER", global = true)]
    pub cluster: Option<String>,
    /// How results are written to stdout
    #[arg(long, value_enum, default_value_t, global = true)]
    pub output: OutputFormat,
    /// How progress is shown on stderr
    #[arg(long, value_enum, default_value_t, global = true)]
    pub progress: ProgressMode,
    /// Show where the time went, and write an HTML page of it
    #[arg(long, global = true)]
    pub timings: bool,
    /// Only errors and results
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// More: the output of builds, the causes of retries
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// For programs: one JSON document with a version; `logs`: one for each line
    Json,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Bars on a terminal, lines elsewhere
    #[default]
    Auto,
    /// Bars
    Tty,
    /// A line for each step
    Plain,
    /// Nothing
    None,
}
