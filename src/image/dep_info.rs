//! What rustc and cargo write beside a result: the files it was compiled from, and the variables it was compiled with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How rustc names a variable that the compiled code reads; one without a value was not set.
const VARIABLE: &str = "# env-dep:";

/// The files that an executable was compiled from, libraries of the repository and all; none where cargo left no list.
pub(crate) fn sources_of(executable: &Path) -> BTreeSet<PathBuf> {
    let rules = fs::read_to_string(executable.with_extension("d")).unwrap_or_default();
    sources(&rules).into_iter().collect()
}

/// By crate, the variables that it asked for and that were not set. `folder` is cargo's `deps`; it may hold results of
/// older runs, of which the newest counts.
pub(crate) fn missing_variables(
    folder: &Path,
    crates: &BTreeSet<&str>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut newest: BTreeMap<String, (SystemTime, PathBuf)> = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_list = path.extension().is_some_and(|extension| extension == "d");
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let Some((name, _)) = stem
            .filter(|_| is_list)
            .and_then(|stem| stem.rsplit_once('-'))
        else {
            continue;
        };
        let time = entry.metadata().and_then(|found| found.modified());
        let Some(time) = time.ok().filter(|_| crates.contains(name)) else {
            continue;
        };
        if newest.get(name).is_none_or(|(known, _)| *known < time) {
            newest.insert(name.to_owned(), (time, path));
        }
    }
    newest
        .into_iter()
        .filter_map(|(name, (_, path))| {
            let list = fs::read_to_string(path).ok()?;
            let missing = missing(&list).map(str::to_owned).collect();
            Some((name, missing))
        })
        .collect()
}

fn missing(list: &str) -> impl Iterator<Item = &str> {
    let variables = list.lines().filter_map(|line| line.strip_prefix(VARIABLE));
    variables.filter(|variable| !variable.contains('='))
}

/// The files behind the colon of a Makefile rule; a backslash keeps a space in a name.
fn sources(rules: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in rules.lines() {
        let Some((_, list)) = line.split_once(": ") else {
            continue;
        };
        let list = list.replace("\\ ", "\0");
        files.extend(
            list.split(' ')
                .filter(|file| !file.is_empty())
                .map(|file| PathBuf::from(file.replace('\0', " "))),
        );
    }
    files
}

#[cfg(test)]
mod tests {
    use super::super::test_stack::write;
    use super::*;

    #[test]
    fn the_files_of_a_rule_are_read() {
        assert_eq!(
            sources("/t/a: /r/a\\ b.rs /r/c.rs\n\n/r/c.rs:\n"),
            [PathBuf::from("/r/a b.rs"), PathBuf::from("/r/c.rs")]
        );
    }

    #[test]
    fn variables_that_were_not_set_are_found() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &[
                (
                    "kit-0123.d",
                    "k: a.rs\n\n# env-dep:GIT_COMMIT\n# env-dep:CARGO_PKG_VERSION=1.0\n",
                ),
                ("serde-0123.d", "# env-dep:OTHER\n"),
                ("kit-0123.rlib", ""),
            ],
        );
        let found = missing_variables(folder.path(), &["kit"].into());
        assert_eq!(found, [("kit".into(), ["GIT_COMMIT".into()].into())].into());
    }
}
