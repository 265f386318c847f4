//! Cargo's configuration as it is in effect in a repository: the files of its folder, of those above and of the user,
//! with what they include.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::input_error::InputError;
use super::lexical::relative;
use super::manifests::{self, canonical};

/// Tables that change no binary.
const WITHOUT_EFFECT: [&str; 12] = [
    "alias",
    "cache",
    "cargo-new",
    "credential-alias",
    "doc",
    "future-incompat-report",
    "http",
    "include",
    "install",
    "net",
    "registry",
    "term",
];
/// Keys in other tables that change no binary, or that we set ourselves. A compiler's cache is one of them.
const KEYS_WITHOUT_EFFECT: [(&str, &[&str]); 2] = [
    (
        "build",
        &[
            "build-dir",
            "dep-info-basedir",
            "jobs",
            "rustc-wrapper",
            "rustc-workspace-wrapper",
            "rustdoc",
            "rustdocflags",
            "target",
            "target-dir",
            "warnings",
        ],
    ),
    ("resolver", &["incompatible-rust-versions"]),
];
/// Keys of each entry of a table, likewise: a registry's tokens are nobody's business.
const ENTRY_KEYS_WITHOUT_EFFECT: [(&str, &[&str]); 2] = [
    (
        "registries",
        &[
            "token",
            "credential-provider",
            "secret-key",
            "secret-key-subject",
        ],
    ),
    ("target", &["runner", "rustdocflags"]),
];

/// Every file that cargo reads, the one that counts most first.
#[derive(Debug, Default)]
pub(crate) struct CargoConfig(Vec<ConfigFile>);

/// A file of cargo's configuration.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    /// The same on all machines: `.cargo/config.toml`, `../.cargo/config.toml`, `$CARGO_HOME/config.toml`; an
    /// included one names the file that includes it.
    name: String,
    /// What paths in it are relative to; absolute.
    base: PathBuf,
    table: Table,
}

impl CargoConfig {
    /// What cargo reads for a build in `root`, which is absolute.
    pub(crate) fn load(root: &Path, cargo_home: Option<&Path>) -> Result<Self, InputError> {
        let mut files = Vec::new();
        let above = root.ancestors().map(|folder| folder.join(".cargo"));
        let mut folders: Vec<PathBuf> = above.collect();
        if let Some(home) = cargo_home.filter(|home| !folders.iter().any(|folder| folder == home)) {
            folders.push(home.to_owned());
        }
        for folder in folders {
            let is_home = cargo_home == Some(folder.as_path());
            // Cargo takes the old name where both are there.
            for name in ["config", "config.toml"] {
                let path = folder.join(name);
                let shown = match is_home {
                    true => format!("$CARGO_HOME/{name}"),
                    false => relative(root, &path).to_string_lossy().into_owned(),
                };
                if add(&mut files, &path, &shown, &mut Vec::new())? {
                    break;
                }
            }
        }
        Ok(Self(files))
    }

    /// The tables, the one that counts most first.
    pub(crate) fn tables(&self) -> impl DoubleEndedIterator<Item = &Table> {
        self.0.iter().map(|file| &file.table)
    }

    /// The files that have an effect on what is compiled, and digests of that: values may be secret.
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().filter_map(|file| {
            let counted = counted(&file.table);
            let text = canonical(&Value::Table(counted.clone()));
            let digest = blake3::hash(text.as_bytes()).to_hex().to_string();
            (!counted.is_empty()).then_some((file.name.as_str(), digest))
        })
    }

    /// The compiler, where a file names another than `rustc`.
    pub(crate) fn rustc(&self) -> Option<String> {
        self.0.iter().find_map(|file| {
            let program = file.table.get("build")?.get("rustc")?.as_str()?;
            Some(file.program(program))
        })
    }

    /// The linker for a target, where a file names one.
    pub(crate) fn linker(&self, triple: &str) -> Option<String> {
        let named = |is_it: &dyn Fn(&str) -> bool| {
            self.0.iter().find_map(|file| {
                let targets = file.table.get("target")?.as_table()?;
                let mut targets = targets.iter().filter(|(target, _)| is_it(target));
                let program = targets.find_map(|(_, settings)| settings.get("linker")?.as_str())?;
                Some(file.program(program))
            })
        };
        named(&|target| target == triple).or_else(|| named(&|target| target.starts_with("cfg(")))
    }

    /// Folders that `[patch]` puts in the place of packages; absolute.
    pub(crate) fn patches(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for file in &self.0 {
            let registries = file.table.get("patch").and_then(Value::as_table);
            let patches = registries
                .into_iter()
                .flat_map(Table::values)
                .filter_map(Value::as_table)
                .flat_map(Table::values);
            let paths = patches.filter_map(|patch| patch.get("path")?.as_str());
            folders.extend(paths.map(|path| file.base.join(path)));
        }
        folders
    }

    /// Folders that `paths` puts in the place of packages; absolute.
    pub(crate) fn overrides(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for file in &self.0 {
            let paths = file.table.get("paths").and_then(Value::as_array);
            let paths = paths.into_iter().flatten().filter_map(Value::as_str);
            folders.extend(paths.map(|path| file.base.join(path)));
        }
        folders
    }
}

impl ConfigFile {
    /// A name is looked for in PATH, a path is relative to the folder of `.cargo`.
    fn program(&self, program: &str) -> String {
        match program.contains('/') {
            true => self.base.join(program).to_string_lossy().into_owned(),
            false => program.to_owned(),
        }
    }
}

/// Adds a file and, below it, what it includes; `false` if there is none. `within` are the files that include it.
fn add(
    files: &mut Vec<ConfigFile>,
    path: &Path,
    name: &str,
    within: &mut Vec<PathBuf>,
) -> Result<bool, InputError> {
    // Cargo refuses a circle; here it must only end.
    if within.iter().any(|above| above == path) {
        return Ok(true);
    }
    let Some(table) = manifests::read(Path::new(""), path)? else {
        return Ok(false);
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let included: Vec<String> = includes(&table).map(str::to_owned).collect();
    files.push(ConfigFile {
        name: name.to_owned(),
        base: folder.parent().unwrap_or(folder).to_owned(),
        table,
    });
    within.push(path.to_owned());
    // The last of them counts most.
    for include in included.iter().rev() {
        let name = format!("{include} (included by {name})");
        add(files, &folder.join(include), &name, within)?;
    }
    within.pop();
    Ok(true)
}

/// `include = ["shared.toml", { path = "own.toml", optional = true }]`: so in cargo 1.95, which takes no plain text.
/// That one is missing is said by cargo.
fn includes(table: &Table) -> impl Iterator<Item = &str> {
    let list = table.get("include").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|include| match include {
            Value::String(path) => Some(path.as_str()),
            other => other.get("path")?.as_str(),
        })
}

/// What of a file changes a binary.
fn counted(table: &Table) -> Table {
    let mut table = table.clone();
    for part in WITHOUT_EFFECT {
        table.remove(part);
    }
    for (part, keys) in KEYS_WITHOUT_EFFECT {
        remove(table.get_mut(part), keys);
    }
    for (part, keys) in ENTRY_KEYS_WITHOUT_EFFECT {
        let entries = table.get_mut(part).and_then(Value::as_table_mut);
        for entry in entries.into_iter().flat_map(|entries| entries.iter_mut()) {
            remove(Some(entry.1), keys);
        }
    }
    without_empty(table)
}

fn remove(value: Option<&mut Value>, keys: &[&str]) {
    if let Some(table) = value.and_then(Value::as_table_mut) {
        for key in keys {
            table.remove(*key);
        }
    }
}

fn without_empty(table: Table) -> Table {
    let kept = table.into_iter().filter_map(|(key, value)| {
        let value = match value {
            Value::Table(table) => Value::Table(without_empty(table)),
            other => other,
        };
        let is_empty = value.as_table().is_some_and(Table::is_empty);
        (!is_empty).then_some((key, value))
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::super::test_stack::write;
    use super::*;

    fn names(config: &CargoConfig) -> Vec<String> {
        config
            .fingerprints()
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    #[test]
    fn every_file_that_cargo_reads_is_found_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("repo");
        write(
            folder.path(),
            &[
                (
                    "repo/.cargo/config.toml",
                    "include = ['first.toml', { path = '../second.toml' }, { path = 'none.toml', optional = true }]\n\
                     build.rustc = 'other'\n",
                ),
                ("repo/.cargo/first.toml", "env.A = '1'\n"),
                (
                    "repo/second.toml",
                    "include = ['second.toml']\nbuild.rustc = 'second'\npaths = ['x']\n",
                ),
                (".cargo/config", "paths = ['lib']\n"),
                (".cargo/config.toml", "paths = ['never']\n"),
                (
                    "home/config.toml",
                    "[patch.crates-io]\nx = { path = 'x' }\n",
                ),
            ],
        );
        let config = CargoConfig::load(&root, Some(&folder.path().join("home"))).unwrap();
        assert_eq!(
            names(&config),
            [
                ".cargo/config.toml",
                "../second.toml (included by .cargo/config.toml)",
                "first.toml (included by .cargo/config.toml)",
                "../.cargo/config",
                "$CARGO_HOME/config.toml",
            ]
        );
        assert_eq!(config.rustc().as_deref(), Some("other"));
        assert_eq!(config.patches(), [folder.path().join("x")]);
        assert_eq!(config.overrides()[1], folder.path().join("lib"));
    }

    #[test]
    fn what_changes_no_binary_does_not_count() {
        let home = tempfile::tempdir().unwrap();
        let write_config = |text: &str| write(home.path(), &[("config.toml", text)]);
        let found = || names(&CargoConfig::load(Path::new("/nowhere"), Some(home.path())).unwrap());
        write_config(
            "[net]\noffline = true\n[http]\nproxy = 'x'\n[term]\nverbose = true\n[alias]\nx = 'run'\n\
             [registry]\ntoken = 't'\n[registries.own]\ntoken = 't'\n[cargo-new]\nvcs = 'none'\n\
             [build]\njobs = 2\ntarget-dir = 'x'\nrustc-wrapper = 'sccache'\n[target.'cfg(unix)']\nrunner = 'x'\n",
        );
        assert!(found().is_empty(), "{:?}", found());
        for counts in [
            "[build]\nrustflags = '-Cx'\n",
            "[target.x86_64-unknown-linux-gnu]\nlinker = 'x'\n",
            "[profile.release]\nlto = true\n",
            "[env]\nA = '1'\n",
            "[source.crates-io]\nreplace-with = 'vendored'\n",
            "[patch.crates-io]\nx = { path = 'x' }\n",
            "paths = ['x']\n",
        ] {
            write_config(counts);
            assert_eq!(found(), ["$CARGO_HOME/config.toml"], "{counts}");
        }
    }

    #[test]
    fn the_nearest_linker_wins_and_a_path_is_relative_to_the_folder_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let linker = |name: &str| format!("[target.t]\nlinker = '{name}'\n");
        write(
            folder.path(),
            &[
                ("repo/.cargo/config.toml", &linker("tools/ld")),
                (".cargo/config.toml", &linker("other")),
            ],
        );
        let config = CargoConfig::load(&folder.path().join("repo"), None).unwrap();
        let expected = folder.path().join("repo/tools/ld");
        assert_eq!(config.linker("t"), Some(expected.display().to_string()));
        assert_eq!(config.linker("u"), None);
    }
}
