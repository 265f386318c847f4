//! Programs that are run as a whole, with the time that takes.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::times::ms;

/// A program that is measured again and again.
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) command: Command,
    pub(super) limit: Option<Duration>,
}

impl Subject {
    pub(super) fn new(name: &str, program: impl AsRef<OsStr>, folder: &Path) -> Self {
        let mut command = Command::new(program);
        command.current_dir(folder);
        Self {
            name: name.to_owned(),
            command,
            limit: None,
        }
    }

    pub(super) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(super) fn limit(mut self, millis: u64) -> Self {
        self.limit = Some(Duration::from_millis(millis));
        self
    }

    /// Runs it once; it must succeed. Returns milliseconds.
    pub(super) fn once(&mut self) -> Result<f64> {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let start = Instant::now();
        let output = self
            .command
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .with_context(|| format!("cannot run `{}`", self.name))?;
        let took = start.elapsed();
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!(
                "`{}` ended with {}: {}",
                self.name,
                output.status,
                stderr.trim()
            );
        }
        Ok(ms(took))
    }
}

/// Runs all subjects in turn, so that a busy moment hits all of them alike.
pub(super) fn in_turn(subjects: &mut [Subject], runs: usize) -> Result<Vec<Vec<f64>>> {
    let mut times: Vec<Vec<f64>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..=runs {
        for (subject, times) in subjects.iter_mut().zip(&mut times) {
            let took = subject.once()?;
            // The first round warms the caches.
            if round > 0 {
                times.push(took);
            }
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_not_measured() {
        let failing = Subject::new("fails", "false", Path::new("."));
        assert!(in_turn(&mut [failing], 1).is_err());
    }

    #[test]
    fn the_first_round_does_not_count() {
        let subject = Subject::new("works", "true", Path::new("."));
        let times = in_turn(&mut [subject], 3).expect("it succeeds");
        assert_eq!(times.iter().map(Vec::len).collect::<Vec<_>>(), [3]);
    }
}
