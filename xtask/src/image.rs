//! `cargo xtask image NAME`: a container image from Debian packages, without a
//! base image and without a package manager in it.
//!
//! What goes in is data beside the service, in `services/NAME/image/`:
//! `packages.list` (one package a line), `drop.list` (paths left out),
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
    let packages = debian::download(&recipe.packages, &workspace::cache().join("debian"))?;
    let work = WorkDir::create(name)?;
    let rootfs = work.path.join("rootfs");
    rootfs::assemble(&recipe, &packages, &rootfs)?;
    elf::check_libraries(&rootfs)?;
    let id = archive::load(&rootfs, &recipe.config, reference)?;
    eprintln!("{reference}: {} packages, {id}", packages.len());
    Ok(())
}

/// What an image is made of, as read from `services/<name>/image/`.
struct Recipe {
    /// Names of Debian packages; nothing is resolved, the list is complete.
    packages: Vec<String>,
    /// Patterns for `tar --exclude`.
    drop: Vec<String>,
    /// Files laid over the packages.
    overlay: PathBuf,
    /// `config` of the OCI image configuration.
    config: serde_json::Value,
}

impl Recipe {
    fn load(folder: &Path) -> Result<Self> {
        let config = folder.join("config.json");
        Ok(Self {
            packages: lines(&folder.join("packages.list"))?,
            drop: lines(&folder.join("drop.list"))?,
            overlay: folder.join("rootfs"),
            config: serde_json::from_str(&read(&config)?)
                .with_context(|| format!("cannot parse {}", config.display()))?,
        })
    }
}

fn lines(file: &Path) -> Result<Vec<String>> {
    let text = read(file)?;
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    Ok(lines
        .filter(|line| !line.is_empty())
        .map(String::from)
        .collect())
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
