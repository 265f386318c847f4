//! `cargo xtask image NAME`: a container image from Debian packages, without a
//! base image and without a package manager in it.
//!
//! What goes in is data beside the service, in `services/NAME/image/`:
//! `packages.list` (one package a line, and which of its paths), `drop.list` (paths left out),
//! `rootfs/` (files of our own) and `config.json` (the OCI image
//! configuration: user, entry point, …). The same packages give the same image,
//! bit for bit.

mod archive;
mod debian;
mod elf;
mod rootfs;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Makes the image of one service and loads it into the Docker engine as `$STACKCTL_IMAGE`.
pub(crate) fn run(name: &str) -> Result<()> {
    let reference = env::var("STACKCTL_IMAGE").unwrap_or_default();
    if reference.is_empty() {
        bail!(
            "$STACKCTL_IMAGE is not set: it names the image to make, \
             as in STACKCTL_IMAGE=seedling/{name}:dev cargo xtask image {name}"
        );
    }
    build(name, &reference)
}

/// Makes the image of `services/<name>/image` and loads it as `reference`.
pub(crate) fn build(name: &str, reference: &str) -> Result<()> {
    let recipe = Recipe::load(&workspace::root().join("services").join(name).join("image"))?;
    let names: Vec<&str> = recipe
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let files = debian::download(&names, &workspace::cache().join("debian"))?;
    let work = WorkDir::create(name)?;
    let rootfs = work.path.join("rootfs");
    rootfs::assemble(&recipe, &files, &rootfs)?;
    elf::check_libraries(&rootfs)?;
    let id = archive::load(&rootfs, &recipe.config, reference)?;
    eprintln!("{reference}: {} packages, {id}", files.len());
    Ok(())
}

/// What an image is made of, as read from `services/<name>/image/`.
struct Recipe {
    /// Nothing is resolved: the list is complete.
    packages: Vec<Package>,
    /// Patterns for `tar --exclude`.
    drop: Vec<String>,
    /// Files laid over the packages.
    overlay: PathBuf,
    /// `config` of the OCI image configuration.
    config: serde_json::Value,
}

/// A line of `packages.list`: `NAME [PATH…]`.
#[derive(Debug, PartialEq)]
struct Package {
    name: String,
    /// Only these paths of the package, as `./usr/bin/flock`; all where empty.
    paths: Vec<String>,
}

impl Package {
    fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace().map(String::from);
        Self {
            name: words.next().unwrap_or_default(),
            paths: words.collect(),
        }
    }
}

impl Recipe {
    fn load(folder: &Path) -> Result<Self> {
        let config = folder.join("config.json");
        Ok(Self {
            packages: lines(&read(&folder.join("packages.list"))?)
                .map(Package::parse)
                .collect(),
            drop: lines(&read(&folder.join("drop.list"))?)
                .map(String::from)
                .collect(),
            overlay: folder.join("rootfs"),
            config: serde_json::from_str(&read(&config)?)
                .with_context(|| format!("cannot parse {}", config.display()))?,
        })
    }
}

/// What is left of each line without its comment, where anything is.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// A folder that is gone when the build is over.
struct WorkDir {
    path: PathBuf,
}

impl WorkDir {
    fn create(name: &str) -> Result<Self> {
        let path = workspace::cache().join(format!("image-{name}-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // Left-overs are in target/ and harmless.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_comments_and_packages_with_paths() {
        let text = "# tools\nbusybox-static\n\nutil-linux ./usr/bin/flock  # no applet\n";
        let packages: Vec<Package> = lines(text).map(Package::parse).collect();
        let package = |name: &str, paths: &[&str]| Package {
            name: name.to_owned(),
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        };
        let expected = [
            package("busybox-static", &[]),
            package("util-linux", &["./usr/bin/flock"]),
        ];
        assert_eq!(packages, expected);
    }
}
