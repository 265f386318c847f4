//! Cargo compiles again what is newer than its last result. A source that was edited but has an older time, from an
//! archive, a copy with times or a clock that was wrong, it does not notice: the image of the new sources would hold
//! the old binary. Here contents are compared, and what cargo would miss is taken out of its results first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::build_error::BuildError;
use super::cache_key::Inputs;
use super::process::{self, ProcessError};

/// The results of cargo for one target and profile.
pub(crate) struct Results<'a> {
    /// The workspace.
    pub root: &'a Path,
    /// Cargo's target folder.
    pub folder: &'a Path,
    /// Such as `x86_64-unknown-linux-musl`.
    pub triple: &'a str,
    /// Cargo's profile.
    pub profile: &'a str,
}

/// What was last given to cargo, by file.
type Record = BTreeMap<String, Given>;

/// The content of a file that cargo was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    fingerprint: String,
    /// Before cargo started.
    time: SystemTime,
}

impl Results<'_> {
    /// Makes cargo compile what changed since it last compiled it; to be called right before cargo runs, with the
    /// inputs of all that it is to compile, by the holder of the build lock.
    pub(crate) async fn refresh<'i>(
        &self,
        inputs: impl Iterator<Item = &'i Inputs>,
        cancel: &CancellationToken,
    ) -> Result<(), BuildError> {
        let before = self.read();
        let now = files_of(inputs, SystemTime::now());
        let missed = self.missed(before.as_ref(), &now);
        let packages: BTreeSet<String> = missed
            .iter()
            .filter_map(|file| package_of(self.root, file))
            .collect();
        if !packages.is_empty() {
            self.forget(&packages, cancel).await?;
        }
        let mut record = before.unwrap_or_default();
        record.extend(now);
        self.write(&record).map_err(|source| BuildError::File {
            action: format!("write to {}", self.folder.display()),
            source,
        })
    }

    /// Files of another content than cargo was last given, which cargo takes for old.
    fn missed(&self, before: Option<&Record>, now: &Record) -> Vec<PathBuf> {
        let is_old = |file: &str, given: SystemTime| {
            let time = fs::metadata(self.root.join(file)).and_then(|found| found.modified());
            !time.is_ok_and(|time| time > given)
        };
        let missed = now.iter().filter(|(file, now)| match before {
            Some(record) => record.get(*file).is_some_and(|before| {
                before.fingerprint != now.fingerprint && is_old(file, before.time)
            }),
            // Nobody knows what the results were made from.
            None => self.folder.join(self.triple).exists(),
        });
        missed.map(|(file, _)| PathBuf::from(file)).collect()
    }

    /// Removes the results of these packages. Where cargo cannot, all go: that only takes longer.
    pub(crate) async fn forget(
        &self,
        packages: &BTreeSet<String>,
        cancel: &CancellationToken,
    ) -> Result<(), BuildError> {
        let mut command = Command::new("cargo");
        command
            .current_dir(self.root)
            .args(["clean", "--locked", "--target", self.triple])
            .args(["--profile", self.profile, "--target-dir"])
            .arg(self.folder)
            // Where cargo compiles, whatever its configuration says.
            .env("CARGO_BUILD_BUILD_DIR", self.folder);
        for package in packages {
            command.args(["--package", package]);
        }
        let cleaned = process::run(command, cancel, |_, line| {
            tracing::debug!(line, "cargo clean");
        });
        match cleaned.await {
            Ok(status) if status.success() => Ok(()),
            Err(ProcessError::Interrupted) => Err(BuildError::Interrupted),
            _ => fs::remove_dir_all(self.folder).map_err(|source| BuildError::File {
                action: format!("empty {}", self.folder.display()),
                source,
            }),
        }
    }

    fn read(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.file()).ok()?).ok()
    }

    /// Whole or not at all: half a record would be none.
    fn write(&self, record: &Record) -> io::Result<()> {
        fs::create_dir_all(self.folder)?;
        let partial = self.file().with_extension("partial");
        fs::write(&partial, serde_json::to_vec(record)?)?;
        fs::rename(partial, self.file())
    }

    fn file(&self) -> PathBuf {
        let name = format!("stackctl-{}-{}.json", self.triple, self.profile);
        self.folder.join(name)
    }
}

fn files_of<'i>(inputs: impl Iterator<Item = &'i Inputs>, time: SystemTime) -> Record {
    let inputs = inputs.flat_map(Inputs::iter);
    let files = inputs.filter_map(|(name, fingerprint)| {
        let given = Given {
            fingerprint: fingerprint.to_owned(),
            time,
        };
        Some((name.strip_prefix("file ")?.to_owned(), given))
    });
    files.collect()
}

/// The name in the manifest above a file; a file of no package is compiled into none.
fn package_of(root: &Path, file: &Path) -> Option<String> {
    let manifests = file
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("Cargo.toml"));
    for manifest in manifests {
        let Ok(text) = fs::read_to_string(root.join(manifest)) else {
            continue;
        };
        let manifest: toml::Table = text.parse().ok()?;
        return Some(manifest.get("package")?.get("name")?.as_str()?.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn inputs(files: &[(&str, &str)]) -> Inputs {
        let mut inputs = Inputs::default();
        inputs.add("lock", "serde 1", "x");
        for (file, fingerprint) in files {
            inputs.add("file", file, *fingerprint);
        }
        inputs
    }

    fn results<'a>(root: &'a Path, folder: &'a Path) -> Results<'a> {
        Results {
            root,
            folder,
            triple: "t",
            profile: "release",
        }
    }

    fn write(path: &Path, time: SystemTime) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn what_changed_without_a_newer_time_is_missed_by_cargo() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("target/stackctl");
        let results = results(root.path(), &folder);
        let compiled = SystemTime::now() - Duration::from_secs(1000);
        for (file, offset) in [("old", 0), ("older", 1), ("same", 1)] {
            write(
                &root.path().join(file),
                compiled - Duration::from_secs(offset),
            );
        }
        write(
            &root.path().join("newer"),
            compiled + Duration::from_secs(1),
        );
        let before = [
            inputs(&[("old", "1"), ("older", "1")]),
            inputs(&[("same", "1"), ("newer", "1")]),
        ];
        let now = inputs(&[
            ("old", "2"),
            ("older", "2"),
            ("same", "1"),
            ("newer", "2"),
            ("added", "1"),
        ]);
        let (before, now) = (
            files_of(before.iter(), compiled),
            files_of([now].iter(), compiled),
        );
        let missed = results.missed(Some(&before), &now);
        assert_eq!(missed, [PathBuf::from("old"), PathBuf::from("older")]);
        assert!(
            results.missed(None, &now).is_empty(),
            "there are no results"
        );
        fs::create_dir_all(folder.join("t")).unwrap();
        assert_eq!(results.missed(None, &now).len(), 5, "of unknown sources");
    }

    #[test]
    fn a_record_comes_back_and_damage_is_none() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("target/stackctl");
        let results = results(root.path(), &folder);
        assert!(results.read().is_none());
        let record = files_of([inputs(&[("a", "1")])].iter(), SystemTime::now());
        assert_eq!(record.len(), 1);
        results.write(&record).unwrap();
        assert_eq!(results.read().unwrap(), record);
        fs::write(results.file(), "{").unwrap();
        assert!(results.read().is_none());
    }

    #[test]
    fn a_file_belongs_to_the_package_above_it() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("kit/src")).unwrap();
        fs::write(root.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        fs::write(
            root.path().join("kit/Cargo.toml"),
            "[package]\nname = \"kit-core\"\n",
        )
        .unwrap();
        let package = |file: &str| package_of(root.path(), Path::new(file));
        assert_eq!(package("kit/src/lib.rs").as_deref(), Some("kit-core"));
        assert_eq!(package("assets/logo.svg"), None);
    }
}
