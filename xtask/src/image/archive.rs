//! A root file system as a docker archive of one layer, loaded into the engine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::process;

/// All files get this time, so that the same files are the same image.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Loads the files of `rootfs` as an image; returns its id, `sha256:<hex>`.
/// Everything in it belongs to root.
pub(crate) fn load(rootfs: &Path, config: &Value, reference: &str) -> Result<String> {
    let folder = rootfs.parent().context("the rootfs has no parent folder")?;
    let layer = folder.join("layer.tar");
    process::run(tar(rootfs, &layer).args(["--sort=name", "."]))?;
    let configuration = serde_json::to_string(&image_config(config, &sha256(&layer)?)?)?;
    let file = folder.join("config.json");
    fs::write(&file, configuration)?;
    let id = sha256(&file)?;
    let name = format!("{id}.json");
    fs::rename(&file, folder.join(&name))?;
    let manifest = json!([{ "Config": name, "RepoTags": [reference], "Layers": ["layer.tar"] }]);
    fs::write(folder.join("manifest.json"), manifest.to_string())?;
    let archive = folder.join("image.tar");
    process::run(tar(folder, &archive).args(["manifest.json", &name, "layer.tar"]))?;
    process::capture(
        Command::new("docker")
            .args(["load", "--quiet", "--input"])
            .arg(&archive),
    )
    .context("cannot load the image into the Docker engine")?;
    Ok(format!("sha256:{id}"))
}

fn tar(folder: &Path, archive: &Path) -> Command {
    let mut command = Command::new("tar");
    command
        .args(["--create", "--format=gnu", "--numeric-owner"])
        .args(["--owner=0", "--group=0", "--mtime=@0", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(folder)
        .env("LC_ALL", "C");
    command
}

fn image_config(config: &Value, layer: &str) -> Result<Value> {
    let machine = process::capture(Command::new("dpkg").arg("--print-architecture"))?;
    Ok(json!({
        "architecture": machine.trim(),
        "os": "linux",
        "created": EPOCH,
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
        "history": [{ "created": EPOCH, "created_by": "cargo xtask image" }],
    }))
}

fn sha256(file: &Path) -> Result<String> {
    let line = process::capture(Command::new("sha256sum").arg("--").arg(file))?;
    let hash = line.split_whitespace().next();
    Ok(hash.context("sha256sum wrote nothing")?.to_owned())
}
