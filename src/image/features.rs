//! Which features each package is compiled with: what cargo resolves for all services of a stack together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::input_error::InputError;
use super::state_folder::StateFolder;

const CACHE: &str = "features.json";

/// Features by `NAME VERSION` of the package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Features(BTreeMap<String, String>);

#[derive(Serialize, Deserialize)]
struct Known {
    key: String,
    features: Features,
}

impl Features {
    /// Those of a package; none where it is not compiled for these targets.
    pub(crate) fn of(&self, package: &str) -> Option<&str> {
        self.0.get(package).map(String::as_str)
    }
}

/// The features of a batch. `key` stands for everything that decides them: manifests, lock file, compiler; cargo
/// is started only when it is not the one of the last time.
pub(crate) fn unified(
    root: &Path,
    batch: &Batch<'_>,
    selection: &[String],
    key: &str,
) -> Result<Features, InputError> {
    let state = StateFolder::of(root);
    let cache = format!("{}-{CACHE}", batch.members[0].service);
    if let Some(known) = state.cached::<Known>(&cache)
        && known.key == key
    {
        return Ok(known.features);
    }
    let features = parse(&tree(root, batch, selection)?);
    let known = Known {
        key: key.to_owned(),
        features,
    };
    state.cache(&cache, &known);
    Ok(known.features)
}

fn tree(root: &Path, batch: &Batch<'_>, selection: &[String]) -> Result<String, InputError> {
    let mut command = Command::new("cargo");
    command
        .args([
            "tree",
            "--quiet",
            "--locked",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}|{f}", "--color", "never"])
        .args(selection)
        .current_dir(root)
        .stdin(Stdio::null());
    for triple in batch.triples() {
        command.args(["--target", triple]);
    }
    let output = command.output().map_err(|source| InputError::Compiler {
        rustc: "cargo".to_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(InputError::Unresolved {
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
        span: batch.members[0].build.span.clone(),
    })
}

/// Lines such as `serde v1.0.2 (proc-macro)|default,std` or `kit v0.1.0 (/r/kit)|`; a package that is compiled
/// twice, for the target and for build scripts, has two.
fn parse(tree: &str) -> Features {
    let mut found: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines() {
        let Some((package, features)) = line.split_once('|') else {
            continue;
        };
        let mut words = package.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            continue;
        };
        let version = version.trim_start_matches('v');
        found
            .entry(format!("{name} {version}"))
            .or_default()
            .insert(features.trim_end_matches(" (*)"));
    }
    let joined = |sets: BTreeSet<&str>| sets.into_iter().collect::<Vec<_>>().join("; ");
    Features(
        found
            .into_iter()
            .map(|(package, sets)| (package, joined(sets)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_features_of_a_tree_are_read() {
        let features = parse(
            "a v0.1.0 (/r/a)|x\nserde v1.0.2|default,std\nsyn v2.0.1 (proc-macro)|full\n\nb v0.1.0 (/r/b)|\nserde \
             v1.0.2|default,std (*)\nsyn v2.0.1|\n",
        );
        for (package, expected) in [
            ("a 0.1.0", Some("x")),
            ("b 0.1.0", Some("")),
            ("serde 1.0.2", Some("default,std")),
            ("syn 2.0.1", Some("; full")),
            ("tokio 1.0.0", None),
        ] {
            assert_eq!(features.of(package), expected, "{package}");
        }
    }
}
