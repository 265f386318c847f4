//! `cargo xtask bench`: how long the commands take that people wait for, against
//! limits of our own and beside other programs in the same run.

mod cargo;
mod commands;
mod copy;
mod edits;
mod engine;
mod report;
mod subject;
mod times;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::needs::Need;
use crate::{process, workspace};
use copy::Copy;
use engine::Images;
use report::Report;

/// What was asked for on the command line.
pub(crate) struct Options {
    /// One JSON document on stdout instead of the table.
    json: bool,
    /// Measured runs of each program.
    runs: usize,
}

impl Options {
    /// `None` where a flag is unknown or a number is none.
    pub(crate) fn parse(args: &[&str]) -> Option<Self> {
        let mut options = Self {
            json: false,
            runs: 30,
        };
        for arg in args {
            match arg.split_once('=') {
                Some(("--runs", runs)) => {
                    options.runs = runs.parse().ok().filter(|runs| *runs > 0)?
                }
                None if *arg == "--json" => options.json = true,
                _ => return None,
            }
        }
        Some(options)
    }

    /// An edit is compiled several times, so there are fewer of them.
    fn edits(&self) -> usize {
        self.runs.div_ceil(3)
    }
}

/// What is measured.
struct Setup {
    /// The release program.
    stackctl: PathBuf,
    copy: Copy,
    has_engine: bool,
    /// `$STACKCTL_TEST_REGISTRY`
    registry: Option<String>,
}

/// Measures, prints, and fails where a median is over its limit.
pub(crate) fn run(options: &Options) -> Result<()> {
    let setup = Setup::prepare()?;
    // Removed when the run is over, however it ends.
    let _images = setup.has_engine.then_some(Images);
    let mut report = Report::new(options.runs, options.edits());
    commands::measure(&setup, options.runs, &mut report)?;
    edits::measure(&setup, options.edits(), &mut report)?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report.to_json())?);
    } else {
        print!("{report}");
    }
    let (over, limits) = report.over();
    ensure!(over == 0, "{over} of {limits} medians are over their limit");
    Ok(())
}

impl Setup {
    fn prepare() -> Result<Self> {
        let stackctl = build()?;
        let registry = std::env::var("STACKCTL_TEST_REGISTRY");
        let registry = registry.ok().filter(|_| Need::Registry.is_met());
        Ok(Self {
            stackctl,
            copy: Copy::make(registry.as_deref())?,
            has_engine: Need::Docker.is_met(),
            registry,
        })
    }
}

/// Builds the release program and returns its path.
fn build() -> Result<PathBuf> {
    let mut build = Command::new(cargo());
    build
        .args(["build", "--release", "--package", "stackctl"])
        .args(["--bin", "stackctl"])
        .current_dir(workspace::root());
    process::run(&mut build)?;
    let program = workspace::target().join("release/stackctl");
    ensure!(program.is_file(), "cargo built no {}", program.display());
    Ok(program)
}

/// The cargo that runs us.
fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let runs =
            |args: &[&str]| Options::parse(args).map(|options| (options.runs, options.edits()));
        assert_eq!(runs(&["--json", "--runs=5"]), Some((5, 2)));
        assert_eq!(runs(&[]), Some((30, 10)));
        assert_eq!(runs(&["--runs=0"]), None);
        assert_eq!(runs(&["--fast"]), None);
    }
}
