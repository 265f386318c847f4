//! What `build:` says, as inputs of an image: every option counts, and so does every file it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::stack::{CommandBuild, DockerfileBuild, FilesBuild, NativeBuild, RunOptions};

use super::cache_key::Inputs;
use super::context::Context;
use super::files::Files;
use super::input_error::InputError;
use super::rootfs::{self, Entry};
use super::target::{self, host_platform};
use super::walk::Links;

/// Inputs of one service, before files are digested.
#[derive(Default)]
pub(crate) struct Gathered {
    /// All but the content of files.
    pub inputs: Inputs,
    /// Cargo's arguments that choose packages and features.
    pub selection: Vec<String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Folders of the packages whose files count.
    pub folders: BTreeSet<PathBuf>,
    /// Further files, relative to the repository.
    pub files: Vec<PathBuf>,
}

/// Adds what an image that is assembled here has beside binaries and packages.
pub(crate) fn add_native(
    found: &mut Gathered,
    build: &NativeBuild,
    files: &Files,
) -> Result<(), InputError> {
    if let Some(base) = &build.base {
        // Its name is in the image, too.
        found
            .inputs
            .add("option", "base", base.reference.to_string());
        found
            .inputs
            .add("option", "base digest", base.digest.to_string());
    }
    let compression = format!("{:?}", build.compression);
    found.inputs.add("option", "compression", compression);
    for platform in target::platforms(build) {
        found.inputs.add("platform", &platform.to_string(), "");
    }
    add_run(&mut found.inputs, &build.run);
    add_files(found, &build.files, files)
}

/// What a Dockerfile is built with. Without a platform the engine builds for its own, which is taken to be this
/// machine's: the engine is not asked for a tag.
pub(crate) fn of_dockerfile(
    build: &DockerfileBuild,
    files: &Files,
) -> Result<Gathered, InputError> {
    let context = Context::read(files.root(), build)?;
    let mut inputs = Inputs::default();
    for (path, kind) in context.others()? {
        inputs.add("context", path, kind);
    }
    inputs.add("option", "dockerfile", build.dockerfile.to_string_lossy());
    inputs.add("option", "context", build.context.to_string_lossy());
    inputs.add(
        "option",
        "target",
        build.target.as_deref().unwrap_or_default(),
    );
    for (name, value) in &build.args {
        inputs.add("arg", name, value.as_str());
    }
    // That a secret is there counts, its value does not.
    for id in build.secrets.keys() {
        inputs.add("secret", id, "");
    }
    if build.ssh.is_some() {
        inputs.add("option", "ssh", "");
    }
    let platform = build.platform.clone().unwrap_or_else(host_platform);
    inputs.add("platform", &platform.to_string(), "");
    Ok(Gathered {
        inputs,
        files: context.files(build),
        ..Gathered::default()
    })
}

/// What a command is given. Links are followed, as the command does.
pub(crate) fn of_command(build: &CommandBuild, files: &Files) -> Result<Gathered, InputError> {
    let mut inputs = Inputs::default();
    for (place, argument) in build.command.iter().enumerate() {
        inputs.add("argument", &place.to_string(), argument.as_str());
    }
    inputs.add("platform", &host_platform().to_string(), "");
    let mut found = Vec::new();
    for input in &build.inputs {
        let below = files.named(input, Links::Followed, "the input", &build.span)?;
        found.extend(below.into_iter().map(|found| found.path));
    }
    Ok(Gathered {
        inputs,
        files: found,
        ..Gathered::default()
    })
}

fn add_run(inputs: &mut Inputs, run: &RunOptions) {
    let mut option = |name: &str, value: &str| inputs.add("run", name, value);
    option("user", &run.user);
    option(
        "working dir",
        run.working_dir.as_deref().unwrap_or_default(),
    );
    option(
        "stop signal",
        run.stop_signal.as_deref().unwrap_or_default(),
    );
    for (name, list) in [
        ("entrypoint", &run.entrypoint),
        ("arguments", &run.arguments),
    ] {
        for (place, text) in list.iter().enumerate() {
            inputs.add(name, &place.to_string(), text.as_str());
        }
    }
    for (name, value) in &run.variables {
        inputs.add("variable", name, value.as_str());
    }
}

fn add_files(found: &mut Gathered, build: &FilesBuild, files: &Files) -> Result<(), InputError> {
    for (from, copied) in &build.copies {
        found
            .inputs
            .add("copy", &from.to_string_lossy(), copied.to.as_str());
    }
    for entry in rootfs::entries(build, files)?.into_values() {
        match entry {
            Entry::Copy { from } => found.files.push(from),
            Entry::Link {
                target,
                from: Some(from),
            } => found
                .inputs
                .add("file", &from.to_string_lossy(), format!("-> {target}")),
            _ => {}
        }
    }
    for (name, user) in &build.users {
        let line = format!("{}:{}", user.uid, user.home);
        found.inputs.add("user", name, line);
    }
    for (path, folder) in &build.folders {
        let owner = folder.owner.as_deref().unwrap_or("root");
        found
            .inputs
            .add("folder", path, format!("{owner} {:o}", folder.mode));
    }
    for (path, target) in &build.links {
        found.inputs.add("link", path, target.as_str());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
