//! `cargo xtask fuzz`: each program of `fuzz/` for a while, from the seeds of `services/parsers`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

/// Inputs are small: what is wrong with a parser shows in some hundred bytes.
const LONGEST: &str = "-max_len=4096";
/// The services keep what they accept in memory.
const MEMORY: &str = "-rss_limit_mb=4096";

/// What was asked for on the command line.
pub(crate) struct Options {
    /// For each program.
    seconds: u32,
    /// All where empty.
    names: Vec<String>,
}

impl Options {
    /// `None` where a flag is unknown or a number is none.
    pub(crate) fn parse(args: &[&str]) -> Option<Self> {
        let mut options = Self {
            seconds: 20,
            names: Vec::new(),
        };
        for arg in args {
            match arg.split_once('=') {
                Some(("--seconds", seconds)) => {
                    options.seconds = seconds.parse().ok().filter(|seconds| *seconds > 0)?;
                }
                None if !arg.starts_with('-') => options.names.push((*arg).to_owned()),
                _ => return None,
            }
        }
        Some(options)
    }
}

/// Runs them one after another; ends with the first that finds something. Where cargo-fuzz or a nightly compiler is not
/// here, says so and does nothing.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(lacking) = lacking() {
        println!("SKIPPED: no fuzzing: {lacking}");
        return Ok(());
    }
    let all = names()?;
    if let Some(unknown) = options.names.iter().find(|name| !all.contains(name)) {
        bail!(
            "there is no program `{unknown}` in fuzz/; there are {}",
            all.join(", ")
        );
    }
    let chosen = match options.names.is_empty() {
        true => all,
        false => options.names.clone(),
    };
    process::run(&mut cargo_fuzz("build"))?;
    for name in &chosen {
        println!("\n=== {name}, {} s", options.seconds);
        process::run(&mut program(name, options.seconds)?)
            .with_context(|| format!("{name} found something, see above"))?;
    }
    println!("\n{} programs found nothing", chosen.len());
    Ok(())
}

fn lacking() -> Option<&'static str> {
    let works = |args: &[&str]| {
        let tried = process::output(
            Command::new("cargo")
                .args(args)
                .env_remove("RUSTUP_TOOLCHAIN"),
        );
        tried.is_ok_and(|output| output.status.success())
    };
    if !works(&["+nightly", "--version"]) {
        return Some("a nightly compiler is not here: rustup toolchain install nightly");
    }
    let there = works(&["+nightly", "fuzz", "--version"]);
    (!there).then_some("cargo-fuzz is not here: cargo install cargo-fuzz")
}

/// Programs are named after their files.
fn names() -> Result<Vec<String>> {
    let folder = workspace::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        names.extend(
            path.file_stem()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    names.sort();
    Ok(names)
}

/// The code is safe, so a sanitizer of addresses would find what is wrong with libraries alone, at twice the time.
fn cargo_fuzz(command: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        // That of the cargo that runs this.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .args(["+nightly", "fuzz", command, "--sanitizer=none"])
        .arg("--target-dir")
        .arg(workspace::target().join("fuzz"))
        .current_dir(workspace::root());
    cargo
}

fn program(name: &str, seconds: u32) -> Result<Command> {
    let corpus = corpus(name);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let seeds = workspace::root().join("services/parsers/seeds").join(name);
    let mut program = cargo_fuzz("run");
    program
        .arg(name)
        // What is found goes into the first folder.
        .args([corpus, seeds])
        .args([
            "--",
            &format!("-max_total_time={seconds}"),
            LONGEST,
            MEMORY,
            "-print_final_stats=1",
        ]);
    Ok(program)
}

fn corpus(name: &str) -> PathBuf {
    workspace::target().join("fuzz/corpus").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let parsed =
            |args: &[&str]| Options::parse(args).map(|options| (options.seconds, options.names));
        assert_eq!(parsed(&[]), Some((20, Vec::new())));
        assert_eq!(
            parsed(&["--seconds=5", "a"]),
            Some((5, vec!["a".to_owned()]))
        );
        assert_eq!(parsed(&["--seconds=0"]), None);
        assert_eq!(parsed(&["--fast"]), None);
    }
}
