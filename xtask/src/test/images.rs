//! The images of PostgreSQL and Redis, made and run on this machine's engine:
//! first start, restart, kill in the middle, stop, refusals.

mod postgres;
mod redis;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::container::docker;
use crate::image;

/// A stop that takes longer is none that a rollout can wait for.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A password that breaks whatever quotes it carelessly.
const PASSWORD: &str = r#"p'a"s\s $HOME `id` %s"#;

/// A check by name; it gets the image.
type Check = (&'static str, fn(&str) -> Result<()>);

/// Makes both images and runs every check on them.
pub(super) fn run(_: bool) -> Result<()> {
    run_checks("postgres", &postgres::CHECKS)?;
    run_checks("redis", &redis::CHECKS)
}

fn run_checks(name: &str, checks: &[Check]) -> Result<()> {
    let reference = format!("xtask-test/{name}:{}", std::process::id());
    image::build(name, &reference)?;
    let outcome = checks.iter().try_for_each(|(what, check)| {
        let start = Instant::now();
        check(&reference).with_context(|| format!("{name}: {what}"))?;
        println!(
            "  ok  {name}: {what} ({:.1} s)",
            start.elapsed().as_secs_f64()
        );
        Ok(())
    });
    docker(&["image", "rm", "--force", &reference])?;
    outcome
}
