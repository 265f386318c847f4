//! Images of Debian packages, built by `stackctl` and run on this machine's engine: PostgreSQL, Redis and Sentinel (first
//! start, restart, kill in the middle, stop, refusals), the gateway and Prometheus (answers, packages, reproducible, stop).

mod build;
mod packages;
mod postgres;
mod redis;
mod sentinel;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::workspace;
use build::Build;

/// A stop that takes longer is none that a rollout can wait for.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A password that breaks whatever quotes it carelessly.
const PASSWORD: &str = r#"p'a"s\s $HOME `id` %s"#;

/// A check by name; it gets the image.
type Check = (&'static str, fn(&str) -> Result<()>);

/// Builds the images and runs every check on them. They stay in the engine, like after any `stackctl build`.
pub(super) fn run(_: bool) -> Result<()> {
    let root = workspace::root();
    let images = Build {
        stack: &root,
        services: &["postgres", "redis", "sentinel"],
        to: "docker",
        cache: None,
    }
    .run()?;
    let reference = |name| build::image(&images, name).map(|image| image.reference.as_str());
    run_checks("postgres", reference("postgres")?, &postgres::CHECKS)?;
    run_checks("redis", reference("redis")?, &redis::CHECKS)?;
    run_checks("sentinel", reference("sentinel")?, &sentinel::CHECKS)?;
    packages::run(reference("redis")?)
}

fn run_checks(name: &str, image: &str, checks: &[Check]) -> Result<()> {
    checks
        .iter()
        .try_for_each(|(what, check)| passed(&format!("{name}: {what}"), || check(image)))
}

/// Says that a check passed and how long it took, or what failed.
fn passed(what: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    check().with_context(|| what.to_owned())?;
    println!("  ok  {what} ({:.1} s)", start.elapsed().as_secs_f64());
    Ok(())
}
