//! What changes a binary without cargo noticing: variables and files that only a build script reads without saying so,
//! the C library. Where they are others than cargo was last given, its results are taken away first.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::stack::{Build, CargoInput};

use super::build_error::BuildError;
use super::freshness::Results;
use super::spec::ImageSpec;

/// Kinds of inputs that are the same for all that one run of cargo makes.
const OF_A_RUN: [&str; 4] = ["cargo ", "config ", "env ", "linker "];

/// What cargo was last given.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    /// Of the last run.
    run: BTreeMap<String, String>,
    /// Files that services declare, of all runs.
    files: BTreeMap<String, String>,
}

/// What cargo is given now.
#[must_use = "until it is kept, what changed counts as unknown"]
pub(crate) struct Pending {
    file: PathBuf,
    given: Given,
}

impl Pending {
    /// To be called once it is known that cargo compiled that, and nothing else.
    pub(crate) fn keep(&self) -> Result<(), BuildError> {
        write(&self.file, &self.given)
    }
}

/// Makes cargo compile the packages of `services` again where something of that is another; to be called right before
/// cargo runs, by the holder of the build lock.
pub(crate) async fn refresh(
    results: &Results<'_>,
    services: &[&ImageSpec],
    cancel: &CancellationToken,
) -> Result<Pending, BuildError> {
    let file = file(results);
    let before: Option<Given> = fs::read(&file)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let now = given(services);
    let has_results = results.folder.join(results.triple).exists();
    if has_results && is_other(before.as_ref(), &now) {
        let inputs = services.iter().flat_map(|spec| spec.inputs.iter());
        let packages = inputs
            .filter_map(|(input, _)| input.strip_prefix("manifest "))
            .map(str::to_owned);
        results.forget(&packages.collect(), cancel).await?;
    }
    let before = before.unwrap_or_default();
    write(&file, &unsure(&before, &now))?;
    let mut given = before;
    given.run = now.run;
    given.files.extend(now.files);
    Ok(Pending { file, given })
}

/// What is known while cargo runs: nothing of what changed.
fn unsure(before: &Given, now: &Given) -> Given {
    let is_known = |(file, fingerprint): &(&String, &String)| {
        now.files.get(*file).is_none_or(|now| now == *fingerprint)
    };
    let known = before.files.iter().filter(is_known);
    Given {
        run: match before.run == now.run {
            true => now.run.clone(),
            false => BTreeMap::new(),
        },
        files: known
            .map(|(file, fingerprint)| (file.clone(), fingerprint.clone()))
            .collect(),
    }
}

fn file(results: &Results<'_>) -> PathBuf {
    let name = format!("unseen-{}-{}.json", results.triple, results.profile);
    results.folder.join(name)
}

fn given(services: &[&ImageSpec]) -> Given {
    let mut given = Given::default();
    for spec in services {
        let declared = declared(spec);
        for (input, fingerprint) in spec.inputs.iter() {
            let is_declared = input.strip_prefix("file ").is_some_and(|file| {
                declared
                    .iter()
                    .any(|path| Path::new(file).starts_with(path))
            });
            if OF_A_RUN.iter().any(|kind| input.starts_with(kind)) {
                given.run.insert(input.to_owned(), fingerprint.to_owned());
            } else if is_declared {
                given.files.insert(input.to_owned(), fingerprint.to_owned());
            }
        }
    }
    given
}

/// Files and folders that a service declares.
fn declared(spec: &ImageSpec) -> Vec<&Path> {
    let Build::Native(build) = &spec.build else {
        return Vec::new();
    };
    let inputs = build.cargo.iter().flat_map(|cargo| &cargo.inputs);
    inputs
        .filter_map(|input| match input {
            CargoInput::Path { path, .. } => Some(path.as_path()),
            CargoInput::Variable(_) => None,
        })
        .collect()
}

fn is_other(before: Option<&Given>, now: &Given) -> bool {
    let Some(before) = before else {
        return true;
    };
    let mut files = now.files.iter();
    before.run != now.run || files.any(|(file, now)| before.files.get(file) != Some(now))
}

/// Whole or not at all: half a record would be none.
fn write(file: &Path, given: &Given) -> Result<(), BuildError> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let partial = file.with_extension("partial");
    serde_json::to_vec(given)
        .map_err(io::Error::from)
        .and_then(|text| {
            fs::create_dir_all(folder)?;
            fs::write(&partial, text)?;
            fs::rename(&partial, file)
        })
        .map_err(|source| BuildError::File {
            action: format!("write to {}", folder.display()),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(run: &[(&str, &str)], files: &[(&str, &str)]) -> Given {
        let owned = |list: &[(&str, &str)]| {
            let pairs = list
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            pairs.collect()
        };
        Given {
            run: owned(run),
            files: owned(files),
        }
    }

    #[test]
    fn results_of_other_surroundings_are_noticed() {
        let before = given(
            &[("env A", "1"), ("linker ld", "1")],
            &[("file x", "1"), ("file y", "1")],
        );
        for (now, expected) in [
            (
                given(&[("env A", "1"), ("linker ld", "1")], &[("file x", "1")]),
                false,
            ),
            (given(&[("env A", "2"), ("linker ld", "1")], &[]), true),
            (given(&[("linker ld", "1")], &[]), true),
            (given(&[("env A", "1"), ("linker ld", "2")], &[]), true),
            (
                given(&[("env A", "1"), ("linker ld", "1")], &[("file x", "2")]),
                true,
            ),
            (
                given(&[("env A", "1"), ("linker ld", "1")], &[("file z", "1")]),
                true,
            ),
        ] {
            assert_eq!(is_other(Some(&before), &now), expected, "{now:?}");
        }
        assert!(
            is_other(None, &before),
            "nobody knows what they were made from"
        );
    }

    #[test]
    fn what_changed_is_unknown_until_it_was_compiled() {
        let before = given(&[("env A", "1")], &[("file x", "1"), ("file y", "1")]);
        let now = given(&[("env A", "1")], &[("file x", "2")]);
        let between = unsure(&before, &now);
        assert_eq!(between, given(&[("env A", "1")], &[("file y", "1")]));
        for then in [&before, &now] {
            assert!(is_other(Some(&between), then), "{then:?}");
        }
        let other = given(&[("env A", "2")], &[]);
        let between = unsure(&before, &other);
        for then in [&before, &other] {
            assert!(is_other(Some(&between), then), "{then:?}");
        }
        assert_eq!(unsure(&before, &before), before);
    }
}
