//! The root file system of an image: packages unpacked, what no container
//! needs left out, our own files on top.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Recipe;
use crate::process;

/// Left out of every package.
const UNUSED: [&str; 12] = [
    "./usr/share/bash-completion",
    "./usr/share/bug",
    "./usr/share/doc",
    "./usr/share/doc-base",
    "./usr/share/info",
    "./usr/share/lintian",
    "./usr/share/locale",
    "./usr/share/man",
    "./etc/init.d",
    "./lib/systemd",
    "./lib/*/gconv",
    "./usr/lib/*/gconv",
];

/// Debian 12 has these merged into /usr; packages may still ship the old paths.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Mount points, and folders that programs expect.
const FOLDERS: [&str; 7] = ["data", "dev", "etc", "proc", "run", "sys", "tmp"];

/// What our entry points call, all of it busybox.
const APPLETS: [&str; 15] = [
    "cat", "chmod", "echo", "env", "flock", "fsync", "id", "ls", "mkdir", "mv", "rm", "sed", "sh",
    "sleep", "sync",
];

/// Unpacks `packages` into the new folder `rootfs` and lays the recipe's files over them.
pub(crate) fn assemble(recipe: &Recipe, packages: &[PathBuf], rootfs: &Path) -> Result<()> {
    for name in MERGED {
        fs::create_dir_all(rootfs.join("usr").join(name))?;
        symlink(format!("usr/{name}"), rootfs.join(name))?;
    }
    for name in FOLDERS {
        fs::create_dir(rootfs.join(name))?;
    }
    for package in packages {
        unpack(package, &recipe.drop, rootfs)
            .with_context(|| format!("cannot unpack {}", package.display()))?;
    }
    link_applets(rootfs)?;
    copy(&recipe.overlay, rootfs)
}

fn unpack(package: &Path, drop: &[String], rootfs: &Path) -> Result<()> {
    let mut extract = Command::new("tar");
    extract
        .args(["--extract", "--keep-directory-symlink", "--no-same-owner"])
        .args(["--wildcards", "--directory"])
        .arg(rootfs);
    let patterns = UNUSED.into_iter().chain(drop.iter().map(String::as_str));
    extract.args(patterns.map(|pattern| format!("--exclude={pattern}")));
    process::pipe(
        Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package),
        &mut extract,
    )
}

fn link_applets(rootfs: &Path) -> Result<()> {
    if !rootfs.join("bin/busybox").is_file() {
        bail!("the entry point needs a shell: add busybox-static to packages.list");
    }
    for name in APPLETS {
        let link = rootfs.join("usr/bin").join(name);
        if link.symlink_metadata().is_err() {
            symlink("busybox", link)?;
        }
    }
    Ok(())
}

/// Copies a folder over another; permissions are kept, links are followed.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let source = entry?.path();
        let target = to.join(source.file_name().expect("a folder's entry has a name"));
        if source.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&source, &target)?;
        } else {
            // A link of a package would lead the copy elsewhere.
            if target.symlink_metadata().is_ok() {
                fs::remove_file(&target)?;
            }
            fs::copy(&source, &target)
                .with_context(|| format!("cannot copy {}", source.display()))?;
        }
    }
    Ok(())
}
