//! Cargo compiles again what is newer than its last result. A source that was edited but has an older time, from an
//! archive, a copy with times or a clock that was wrong, it does not notice: the image of the new sources would hold
//! the old binary. Here contents are compared, and what cargo would miss is taken out of its results first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
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
    /// inputs of all that it is to compile, by the holder of the build lock. Until what it returns is kept, nobody
    /// knows what became of the sources that changed.
    pub(crate) async fn refresh<'i>(
        &self,
        inputs: impl Iterator<Item = &'i Inputs>,
        cancel: &CancellationToken,
    ) -> Result<Compiled, BuildError> {
        let before = self.read();
        let now = files_of(inputs, SystemTime::now());
        let missed = self.missed(before.as_ref(), &now);
        self.forget_packages_of(missed.iter(), cancel).await?;
        let mut record = before.unwrap_or_default();
        let mut unsure = record.clone();
        for (file, given) in &now {
            if record.get(file).map(|before| &before.fingerprint) != Some(&given.fingerprint) {
                unsure.insert(file.clone(), given.unknown());
            }
        }
        record.extend(now);
        let compiled = Compiled {
            file: self.file(),
            record,
        };
        compiled.write(&unsure)?;
        Ok(compiled)
    }

    /// Makes cargo compile again what was written while it ran, where it would not notice by the times.
    pub(crate) async fn forget_unnoticed(
        &self,
        touched: &BTreeSet<PathBuf>,
        cancel: &CancellationToken,
    ) -> Result<(), BuildError> {
        let unnoticed = touched
            .iter()
            .filter(|file| !has_its_own_time(&self.root.join(file)));
        self.forget_packages_of(unnoticed, cancel).await
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

    /// Removes the results of the packages that these files are in.
    async fn forget_packages_of<'f>(
        &self,
        files: impl Iterator<Item = &'f PathBuf>,
        cancel: &CancellationToken,
    ) -> Result<(), BuildError> {
        let packages: BTreeSet<String> = files
            .filter_map(|file| package_of(self.root, file))
            .collect();
        if packages.is_empty() {
            return Ok(());
        }
        self.forget(&packages, cancel).await
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

    fn file(&self) -> PathBuf {
        let name = format!("stackctl-{}-{}.json", self.triple, self.profile);
        self.folder.join(name)
    }
}

/// What cargo is given now.
#[must_use = "until it is kept, what changed counts as unknown"]
pub(crate) struct Compiled {
    file: PathBuf,
    record: Record,
}

impl Compiled {
    /// To be called once it is known that cargo compiled it, and nothing else.
    pub(crate) fn keep(&self) -> Result<(), BuildError> {
        self.write(&self.record)
    }

    /// Whole or not at all: half a record would be none.
    fn write(&self, record: &Record) -> Result<(), BuildError> {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let partial = self.file.with_extension("partial");
        serde_json::to_vec(record)
            .map_err(io::Error::from)
            .and_then(|text| {
                fs::create_dir_all(folder)?;
                fs::write(&partial, text)?;
                fs::rename(&partial, &self.file)
            })
            .map_err(|source| BuildError::File {
                action: format!("write to {}", folder.display()),
                source,
            })
    }
}

impl Given {
    /// The same, where cargo may have compiled something else.
    fn unknown(&self) -> Self {
        Self {
            fingerprint: String::new(),
            time: self.time,
        }
    }
}

/// Whether a file was written at the time that it shows, and not given that time later.
fn has_its_own_time(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| {
        found.is_file()
            && (found.mtime(), found.mtime_nsec()) == (found.ctime(), found.ctime_nsec())
    })
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
        let compiled = Compiled {
            file: results.file(),
            record: files_of([inputs(&[("a", "1")])].iter(), SystemTime::now()),
        };
        assert_eq!(compiled.record.len(), 1);
        compiled.keep().unwrap();
        assert_eq!(results.read().unwrap(), compiled.record);
        fs::write(results.file(), "{").unwrap();
        assert!(results.read().is_none());
    }

    #[tokio::test]
    async fn what_changed_is_unknown_until_it_was_compiled() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("target/stackctl");
        let results = results(root.path(), &folder);
        let cancel = CancellationToken::new();
        let given = async |files: &[(&str, &str)]| {
            let inputs = inputs(files);
            results
                .refresh([&inputs].into_iter(), &cancel)
                .await
                .unwrap()
        };
        let known = || -> Vec<(String, bool)> {
            let record = results.read().unwrap().into_iter();
            record
                .map(|(file, given)| (file, !given.fingerprint.is_empty()))
                .collect()
        };
        let compiled = given(&[("a", "1"), ("b", "1")]).await;
        assert_eq!(known(), [("a".into(), false), ("b".into(), false)]);
        compiled.keep().unwrap();
        assert_eq!(known(), [("a".into(), true), ("b".into(), true)]);
        let failed = given(&[("a", "2"), ("b", "1")]).await;
        drop(failed);
        assert_eq!(known(), [("a".into(), false), ("b".into(), true)]);
        // Restored as cargo knew it before, or may have compiled it: with an old time, it cannot tell.
        let old = SystemTime::now() - Duration::from_secs(1000);
        write(&root.path().join("a"), old);
        for content in ["1", "2", "3"] {
            let now = files_of([inputs(&[("a", content)])].iter(), SystemTime::now());
            let missed = results.missed(results.read().as_ref(), &now);
            assert_eq!(missed, [PathBuf::from("a")], "{content}");
        }
    }

    #[test]
    fn a_time_that_was_set_is_not_a_files_own() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::write(&path, "").unwrap();
        assert!(has_its_own_time(&path));
        write(&path, SystemTime::now() - Duration::from_secs(1000));
        assert!(!has_its_own_time(&path));
        assert!(!has_its_own_time(root.path()), "a folder is no source");
        assert!(!has_its_own_time(&root.path().join("gone")));
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
