//! Cargo by itself, with the flags that stackctl gives it, and cargo as stackctl runs it, with a clock around it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::copy::{Copy, SERVICE};
use super::subject::Subject;
use crate::process;

/// What makes a binary static, as `src/image/target.rs` has it.
const STATIC_FLAGS: [&str; 4] = [
    "-C",
    "target-feature=+crt-static",
    "--cfg",
    "getrandom_backend=\"linux_getrandom\"",
];

/// A program called cargo that notes in `times` when the `real` one starts and ends. Both are in it: cargo gets no
/// variables but its own.
fn script(real: &Path, times: &Path) -> String {
    let (real, times) = (real.display(), times.display());
    format!(
        "#!/bin/sh\nstart=$(date +%s%N)\n'{real}' \"$@\"\ncode=$?\n\
         echo \"$start $(date +%s%N)\" >>'{times}'\nexit $code\n"
    )
}

/// The clock around cargo.
pub(super) struct Clock {
    folder: PathBuf,
}

impl Clock {
    pub(super) fn install() -> Result<Self> {
        let folder = Copy::keeps("clock");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = env::var_os("PATH").unwrap_or_default();
        let real = env::split_paths(&path)
            .map(|folder| folder.join("cargo"))
            .find(|program| program.is_file())
            .context("no cargo in $PATH")?;
        let clock = Self { folder };
        let program = clock.folder.join("cargo");
        fs::write(&program, script(&real, &clock.file()))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(clock)
    }

    /// Puts it before the cargo of `$PATH`.
    pub(super) fn around(&self, subject: Subject) -> Result<Subject> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&path);
        let path: OsString = env::join_paths([self.folder.clone()].into_iter().chain(folders))?;
        Ok(subject.env("PATH", path))
    }

    /// How long cargo ran since this was asked last, in milliseconds.
    pub(super) fn take(&self) -> Result<f64> {
        let text = fs::read_to_string(self.file()).context("cargo was not started")?;
        fs::remove_file(self.file())?;
        read(&text).with_context(|| format!("the clock wrote {text:?}"))
    }

    fn file(&self) -> PathBuf {
        self.folder.join("times")
    }
}

/// `cargo build` of the service, in a target folder of its own.
pub(super) fn build(copy: &Copy) -> Result<Subject> {
    let target = Copy::keeps("cargo").display().to_string();
    let triple = triple()?;
    let args = ["build", "--locked", "--release", "--package", SERVICE];
    let places = ["--target", &triple, "--target-dir", &target];
    Ok(Subject::new("edit: cargo build", "cargo", copy.folder())
        .args(&[&args[..], &places].concat())
        .env("CARGO_ENCODED_RUSTFLAGS", STATIC_FLAGS.join("\u{1f}")))
}

/// What stackctl compiled last.
pub(super) fn binary(copy: &Copy) -> Result<PathBuf> {
    let folder = copy.folder().join("target/stackctl").join(triple()?);
    Ok(folder.join("release").join(SERVICE))
}

/// This machine, as cargo names it.
fn triple() -> Result<String> {
    let about = process::capture(Command::new("rustc").arg("-vV"))?;
    let mut lines = about.lines();
    let host = lines.find_map(|line| line.strip_prefix("host: "));
    host.map(String::from).context("rustc names no host")
}

/// The sum of all `START END` in nanoseconds, as milliseconds.
fn read(text: &str) -> Option<f64> {
    let took = |line: &str| {
        let (start, end) = line.split_once(' ')?;
        let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
        Some(end.checked_sub(start)? as f64 / 1e6)
    };
    text.lines().map(took).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_runs_of_cargo_count() {
        assert_eq!(read("1000000 3500000\n4000000 5000000\n"), Some(3.5));
        assert_eq!(read("1000000\n"), None);
    }
}
