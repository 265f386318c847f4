//! The root file system of an image: packages unpacked, what no container
//! needs left out, our own files on top.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Package, Recipe};
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

/// Of those, where any user may write when nothing is mounted there.
const WRITABLE: [&str; 3] = ["data", "run", "tmp"];

/// What our entry points call, all of it busybox.
const APPLETS: [&str; 13] = [
    "cat", "chmod", "echo", "env", "id", "ls", "mkdir", "mv", "rm", "sed", "sh", "sleep", "sync",
];

/// Unpacks the recipe's packages, which are in `files` in the same order, into
/// the new folder `rootfs` and lays the recipe's own files over them.
pub(crate) fn assemble(recipe: &Recipe, files: &[PathBuf], rootfs: &Path) -> Result<()> {
    for name in MERGED {
        fs::create_dir_all(rootfs.join("usr").join(name))?;
        symlink(format!("usr/{name}"), rootfs.join(name))?;
    }
    for name in FOLDERS {
        fs::create_dir(rootfs.join(name))?;
    }
    for (package, file) in recipe.packages.iter().zip(files) {
        unpack(package, file, recipe, rootfs)
            .with_context(|| format!("cannot unpack {}", file.display()))?;
    }
    link_applets(rootfs)?;
    copy(&recipe.overlay, rootfs)?;
    normalise_modes(rootfs)?;
    for name in WRITABLE {
        fs::set_permissions(rootfs.join(name), Permissions::from_mode(0o1777))?;
    }
    Ok(())
}

fn unpack(package: &Package, file: &Path, recipe: &Recipe, rootfs: &Path) -> Result<()> {
    let mut extract = Command::new("tar");
    extract
        .args(["--extract", "--keep-directory-symlink", "--no-same-owner"])
        .args(["--wildcards", "--directory"])
        .arg(rootfs);
    let patterns = UNUSED
        .into_iter()
        .chain(recipe.drop.iter().map(String::as_str));
    extract.args(patterns.map(|pattern| format!("--exclude={pattern}")));
    extract.args(&package.paths);
    process::pipe(
        Command::new("dpkg-deb").arg("--fsys-tarfile").arg(file),
        &mut extract,
    )
}

fn link_applets(rootfs: &Path) -> Result<()> {
    let busybox = rootfs.join("bin/busybox");
    if !busybox.is_file() {
        bail!("the entry point needs a shell: add busybox-static to packages.list");
    }
    let applets = process::capture(Command::new(busybox).arg("--list"))?;
    for name in APPLETS {
        if !applets.lines().any(|applet| applet == name) {
            bail!("busybox has no `{name}`");
        }
        let link = rootfs.join("usr/bin").join(name);
        if link.symlink_metadata().is_err() {
            symlink("busybox", link)?;
        }
    }
    Ok(())
}

/// Readable and, where it was for its owner, executable by all, writable by the
/// owner, never setuid: whatever the umask of whoever builds or checked out.
fn normalise_modes(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            continue;
        }
        let executable = kind.is_dir() || entry.metadata()?.permissions().mode() & 0o100 != 0;
        let mode = if executable { 0o755 } else { 0o644 };
        fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
        if kind.is_dir() {
            normalise_modes(&entry.path())?;
        }
    }
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
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
