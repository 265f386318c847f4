//! The arguments of each command.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The environment a command works on.
#[derive(Debug, Args)]
pub struct Target {
    /// The environment: the name of a file in environments/
    #[arg(value_name = "ENV", env = "STACKCTL_ENV", default_value = "local")]
    pub environment: String,
    /// Only this service; may be given several times
    #[arg(short, long = "service", value_name = "NAME")]
    pub services: Vec<String>,
}

/// Where the results of smoke tests go.
#[derive(Debug, Args)]
pub struct Reports {
    /// Write a JUnit report to this file
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write a JSON report to this file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// `stackctl up`
#[derive(Debug, Args)]
pub struct Up {
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Reports of the smoke tests
    #[command(flatten)]
    pub reports: Reports,
    /// Take over fields and objects that others made or manage
    #[arg(long)]
    pub take_over: bool,
}

/// `stackctl build`
#[derive(Debug, Args)]
pub struct Build {
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Write which images belong to the services to this file, for `deploy --images`
    #[arg(long, value_name = "FILE")]
    pub images: Option<PathBuf>,
    /// Who puts images together that no Dockerfile describes; compiling is always on this machine
    #[arg(long, value_enum, default_value_t)]
    pub builder: Builder,
    /// Where images go: docker, registry, oci:DIR or archive:FILE; default: the Docker engine where one answers
    #[arg(long, value_name = "PLACE")]
    pub to: Option<String>,
    /// Say which inputs of each image changed since it was last built
    #[arg(long)]
    pub explain: bool,
    /// Take the newest versions of Debian packages and write them to the lock files
    #[arg(long)]
    pub update_packages: bool,
    /// Write a list of what is in each image (SPDX) to this folder, and attach it to what is pushed
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "target/stackctl/sbom")]
    pub sbom: Option<PathBuf>,
    /// Sign what is pushed with this key: a PEM file, or env:VARIABLE
    #[arg(long, value_name = "KEY")]
    pub sign: Option<String>,
}

/// Who puts images together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Builder {
    /// stackctl itself, layer by layer
    #[default]
    Native,
    /// The Docker engine
    Docker,
}

/// `stackctl render`
#[derive(Debug, Args)]
pub struct Render {
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Write a file for each service into this folder, instead of all to stdout
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Add where each value comes from, as comments
    #[arg(long)]
    pub source: bool,
    /// Write what Kubernetes of this version serves, such as 1.20
    #[arg(long = "target", value_name = "VERSION")]
    pub kubernetes: Option<String>,
}

/// `stackctl validate`
#[derive(Debug, Args)]
pub struct Validate {
    /// Where
    #[command(flatten)]
    pub target: Target,
}

/// `stackctl deploy`
#[derive(Debug, Args)]
pub struct Deploy {
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Take over fields and objects that others made or manage
    #[arg(long)]
    pub take_over: bool,
    /// The images to deploy, as written by `build --images`
    #[arg(long, value_name = "FILE")]
    pub images: Option<PathBuf>,
}

/// `stackctl status`
#[derive(Debug, Args)]
pub struct Status {
    /// Where
    #[command(flatten)]
    pub target: Target,
}

/// `stackctl logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Go on until interrupted, also through restarts and redeploys
    #[arg(short, long)]
    pub follow: bool,
    /// Lines of each container from before now
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub tail: u32,
    /// Only lines younger than this, such as 10m
    #[arg(long, value_name = "DURATION")]
    pub since: Option<String>,
    /// The containers before the last restart
    #[arg(short, long, conflicts_with = "follow")]
    pub previous: bool,
}

/// `stackctl port-forward`
#[derive(Debug, Args)]
pub struct PortForward {
    /// Where
    #[command(flatten)]
    pub target: Target,
}

/// `stackctl smoke-test`
#[derive(Debug, Args)]
pub struct SmokeTest {
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Reports
    #[command(flatten)]
    pub reports: Reports,
}

/// `stackctl down`
#[derive(Debug, Args)]
pub struct Down {
    /// The environment: the name of a file in environments/
    #[arg(value_name = "ENV", env = "STACKCTL_ENV", default_value = "local")]
    pub environment: String,
    /// Delete volumes, generated secrets and the namespace too
    #[arg(long)]
    pub data: bool,
    /// Do not ask, also where the environment is protected
    #[arg(short, long)]
    pub yes: bool,
}

/// `stackctl init`
#[derive(Debug, Args)]
pub struct Init {
    /// Where to write; made where it does not exist
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// What the stack is called; default: the folder's name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}
