//! A stack of one service that is made of files alone: building it needs no toolchain, no engine and no network.

use std::fs;
use std::path::{Path, PathBuf};

use oci_image::{Descriptor, Index, Layout, Manifest};
use serde_json::Value;

use crate::workspace::{Run, Workspace};

/// The service file where a test says nothing else.
pub(crate) const PAGES: &str = "services/pages/service.yaml";

/// A stack whose only service `pages` has this `build`, with files of its own for it.
pub(crate) fn stack(build: &str) -> Workspace {
    let workspace = Workspace::empty();
    for (path, text) in [
        ("stack.yaml", "name: shop\nservices: [pages]\n"),
        ("environments/local.yaml", "cluster: local\n"),
        ("pages/index.html", "<p>hi\n"),
        ("pages/run", "#!/bin/sh\n"),
    ] {
        workspace.write(path, text);
    }
    workspace.write(PAGES, format!("build:\n{build}"));
    workspace
}

/// What `build` of such a service needs at least.
pub(crate) const FILES: &str = "  files: { pages: /srv }\n  entrypoint: [/srv/run]\n";

/// Runs the binary with a cache below the workspace and no logins.
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Run {
    run_with(workspace, arguments, &[])
}

pub(crate) fn run_with(
    workspace: &Workspace,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Run {
    let cache = cache(workspace).display().to_string();
    let mut all = vec![("STACKCTL_CACHE", cache.as_str())];
    all.extend(variables);
    workspace.run_with(arguments, &all)
}

pub(crate) fn cache(workspace: &Workspace) -> PathBuf {
    workspace.path().join("cache")
}

/// The images that the store has.
pub(crate) fn images(workspace: &Workspace) -> Layout {
    Layout::open(cache(workspace).join("images")).expect("a layout")
}

/// The one image of the layout in `folder` whose name contains `name`.
pub(crate) fn named(layout: &Layout, name: &str) -> Descriptor {
    let names = layout.names().expect("an index");
    let mut found = names.iter().filter(|(key, _)| key.contains(name));
    match (found.next(), found.next()) {
        (Some((_, image)), None) => image.clone(),
        _ => panic!("not one {name} in {names:?}"),
    }
}

pub(crate) fn manifest(layout: &Layout, image: &Descriptor) -> Manifest {
    serde_json::from_slice(&layout.read(image).expect("it is whole")).expect("a manifest")
}

pub(crate) fn index(layout: &Layout, image: &Descriptor) -> Index {
    serde_json::from_slice(&layout.read(image).expect("it is whole")).expect("an index")
}

/// The report of a run with `--output json`, which must have succeeded.
pub(crate) fn report(run: &Run) -> Value {
    assert_eq!(run.code, 0, "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("JSON")
}

pub(crate) fn digest(report: &Value) -> String {
    let digest = report["images"]["pages"]["manifest"]["digest"].as_str();
    digest.expect("a digest").to_owned()
}

pub(crate) fn remove(folder: &Path) {
    fs::remove_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}
