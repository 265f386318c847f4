//! Debian packages: downloaded and verified by apt, kept in a folder of our own.
//!
//! apt uses this machine's sources and keys, but lists and state of its own, so
//! that neither root nor a recent `apt-get update` is needed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process;

/// Lists older than this are fetched again, for security updates.
const LISTS_LIVE: Duration = Duration::from_secs(24 * 3600);

/// The `.deb` files of these packages in their newest version, in the same order.
pub(crate) fn download(packages: &[&str], cache: &Path) -> Result<Vec<PathBuf>> {
    for program in ["apt-get", "dpkg-deb"] {
        if !process::exists(program) {
            bail!("`{program}` is not here: images are made from Debian packages, on Debian");
        }
    }
    let apt = Apt::open(cache)?;
    if apt.lists_are_old() {
        apt.update()?;
    }
    match apt.fetch(packages) {
        Ok(files) => Ok(files),
        // The archive may have moved on since the lists were fetched.
        Err(first) => {
            eprintln!("{first:#}; trying again with new package lists");
            apt.update()?;
            apt.fetch(packages)
        }
    }
}

/// apt with folders of its own; one process at a time uses them.
struct Apt {
    folder: PathBuf,
    _lock: File,
}

impl Apt {
    fn open(cache: &Path) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial", "pool"] {
            let folder = cache.join(part);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(cache.join("status"), "")?;
        let lock = File::create(cache.join("lock"))?;
        lock.lock().context("cannot lock the package cache")?;
        Ok(Self {
            folder: cache.to_path_buf(),
            _lock: lock,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        let option = |name: &str, path: &str| {
            let mut option = OsString::from(format!("-o{name}="));
            option.push(self.folder.join(path));
            option
        };
        command
            .arg(option("Dir::State::Lists", "lists"))
            .arg(option("Dir::State::status", "status"))
            .arg(option("Dir::Cache", "cache"))
            .args(["-qq", "-oAPT::Sandbox::User=", "-oAcquire::Retries=3"])
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.folder.join("pool"));
        command
    }

    fn stamp(&self) -> PathBuf {
        self.folder.join("updated")
    }

    fn lists_are_old(&self) -> bool {
        let modified = self.stamp().metadata().and_then(|meta| meta.modified());
        modified.map_or(true, |time| {
            time.elapsed().map_or(true, |age| age > LISTS_LIVE)
        })
    }

    fn update(&self) -> Result<()> {
        process::capture(self.command().arg("update"))?;
        fs::write(self.stamp(), "")?;
        Ok(())
    }

    /// Downloads what is not there yet. apt checks size and hash of every file
    /// against the signed lists, also of one that is there.
    fn fetch(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        // Not in the pool: files that are already there would not be listed.
        let uris = process::capture(
            self.command()
                .current_dir(self.folder.join("lists"))
                .args(["download", "--print-uris"])
                .args(packages),
        )?;
        let names: Vec<&str> = uris.lines().filter_map(file_name).collect();
        let files = packages
            .iter()
            .map(|package| {
                let name = names.iter().find(|name| is_of(name, package));
                let name = name.with_context(|| format!("apt knows no package `{package}`"))?;
                Ok(self.folder.join("pool").join(name))
            })
            .collect::<Result<Vec<_>>>()?;
        process::capture(self.command().arg("download").args(packages))?;
        match files.iter().find(|file| !file.is_file()) {
            None => Ok(files),
            Some(file) => bail!("apt did not download {}", file.display()),
        }
    }
}

/// The file name in a line of `--print-uris`: `'URI' NAME SIZE HASH`.
fn file_name(line: &str) -> Option<&str> {
    line.strip_prefix('\'')?.split(' ').nth(1)
}

/// Whether `NAME_VERSION_ARCH.deb` is a file of this package.
fn is_of(file: &str, package: &str) -> bool {
    file.strip_prefix(package)
        .is_some_and(|rest| rest.starts_with('_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_file_names_of_print_uris() {
        let line = "'http://deb.debian.org/debian/pool/main/g/glibc/libc6_2.36-9%2bdeb12u14_amd64.deb' \
                    libc6_2.36-9+deb12u14_amd64.deb 2759320 SHA256:ba4f";
        assert_eq!(file_name(line), Some("libc6_2.36-9+deb12u14_amd64.deb"));
        assert_eq!(file_name("Need to get 3 kB"), None);
    }

    #[test]
    fn a_package_is_not_taken_for_one_with_a_longer_name() {
        assert!(is_of("libc6_2.36_amd64.deb", "libc6"));
        assert!(!is_of("libc6-dev_2.36_amd64.deb", "libc6"));
    }
}
