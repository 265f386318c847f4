//! The manifests of Cargo packages, read without cargo.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::{Table, Value};

use crate::diagnostic::{SourceFile, Span};

use super::input_error::InputError;
use super::lexical::normal;

/// Parts of a manifest that no binary is made from.
pub(super) const NOT_COMPILED: [&str; 6] = [
    "dev-dependencies",
    "lints",
    "test",
    "bench",
    "example",
    "badges",
];
/// Tables of dependencies that a build uses.
const DEPENDENCY_TABLES: [&str; 3] = ["dependencies", "build-dependencies", "build_dependencies"];

/// One `Cargo.toml`.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// The package's name.
    pub name: String,
    /// Its folder, relative to the repository; empty for the repository itself.
    pub folder: PathBuf,
    /// What it inherits from.
    pub(super) root: Arc<Root>,
    pub(super) table: Table,
}

/// The root manifest of a workspace, or one of a package that is in none.
#[derive(Debug, Default)]
pub(crate) struct Root {
    /// Relative to the repository.
    pub folder: PathBuf,
    /// As it is written.
    pub table: Table,
}

/// A dependency of a manifest, with what the workspace says about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The package's own name, whatever the manifest calls it.
    pub package: String,
    /// Its folder, relative to the repository, for a path dependency.
    pub folder: Option<PathBuf>,
    /// The key in `[workspace.dependencies]`, if it is inherited.
    pub(super) inherited: Option<String>,
}

impl Manifest {
    /// The binaries of the package: those it declares, and those that cargo finds beside them.
    pub(crate) fn binaries(&self, root: &Path) -> BTreeSet<String> {
        let declared = self.table.get("bin").and_then(Value::as_array);
        let declared = || declared.into_iter().flatten();
        let text = |bin: &Value, key: &str| bin.get(key)?.as_str().map(str::to_owned);
        let mut names: BTreeSet<String> = declared().filter_map(|bin| text(bin, "name")).collect();
        let paths: BTreeSet<PathBuf> = declared()
            .filter_map(|bin| Some(normal(Path::new(&text(bin, "path")?))))
            .collect();
        let finds_others = match self.package("autobins").and_then(Value::as_bool) {
            Some(finds) => finds,
            None => names.is_empty() || self.field("edition").is_some_and(|year| year != "2015"),
        };
        if finds_others {
            let found = self.found_binaries(&root.join(&self.folder)).into_iter();
            // A file that is declared under another name makes one binary.
            names.extend(found.filter_map(|(name, path)| (!paths.contains(&path)).then_some(name)));
        }
        names
    }

    /// Names and paths of binaries that lie where cargo looks for them.
    fn found_binaries(&self, folder: &Path) -> Vec<(String, PathBuf)> {
        let main = PathBuf::from("src/main.rs");
        let mut found = Vec::new();
        if folder.join(&main).is_file() {
            found.push((self.name.clone(), main));
        }
        let entries = fs::read_dir(folder.join("src/bin"));
        for entry in entries.into_iter().flatten().flatten() {
            let mut path = Path::new("src/bin").join(entry.file_name());
            let stem = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned());
            if folder.join(&path).is_dir() {
                path.push("main.rs");
            }
            let is_binary = path.extension().is_some_and(|extension| extension == "rs");
            if is_binary && folder.join(&path).is_file() {
                found.extend(stem.map(|stem| (stem, path)));
            }
        }
        found
    }

    /// What a binary is made from, in an order that does not depend on the file's.
    pub(crate) fn fingerprint(&self) -> String {
        let mut table = self.table.clone();
        for part in NOT_COMPILED {
            table.remove(part);
        }
        // The root manifest speaks for the whole workspace; `Workspace` adds what concerns a package.
        for part in ["workspace", "profile", "patch"] {
            table.remove(part);
        }
        canonical(&Value::Table(table))
    }

    /// What it is compiled with, without what only its tests need.
    pub(crate) fn dependencies(&self) -> Vec<Dependency> {
        self.dependency_tables()
            .flatten()
            .map(|(key, value)| self.dependency(key, value))
            .collect()
    }

    /// What its workspace says that concerns it: inherited fields and dependencies.
    pub(crate) fn inherited(&self) -> String {
        let entries = |table: &str, keys: BTreeSet<String>| {
            let entries = self.root.shared(table);
            keys.into_iter()
                .filter_map(|key| {
                    let value = entries?.get(&key)?;
                    Some(format!("{table}.{key}={}\n", canonical(value)))
                })
                .collect::<String>()
        };
        let package = self.table.get("package").and_then(Value::as_table);
        let fields = package.into_iter().flatten();
        let fields = fields
            .filter(|(_, value)| inherits(value))
            .map(|(key, _)| key.clone());
        let dependencies = self.dependencies().into_iter();
        entries("package", fields.collect())
            + &entries(
                "dependencies",
                dependencies.filter_map(|found| found.inherited).collect(),
            )
    }

    /// A field of `[package]`, inherited or not.
    pub(crate) fn field(&self, key: &str) -> Option<&str> {
        let value = self.package(key)?;
        match inherits(value) {
            true => self.root.shared("package")?.get(key)?.as_str(),
            false => value.as_str(),
        }
    }

    /// Whether it has features that are on unless they are switched off.
    pub(crate) fn has_default_features(&self) -> bool {
        let features = self.table.get("features").and_then(Value::as_table);
        features.is_some_and(|features| features.contains_key("default"))
    }

    fn package(&self, key: &str) -> Option<&Value> {
        self.table.get("package")?.get(key)
    }

    fn dependency(&self, key: &str, value: &Value) -> Dependency {
        let shared = self.root.shared("dependencies");
        let shared = shared
            .and_then(|shared| shared.get(key))
            .filter(|_| inherits(value));
        let (declared, base) = match shared {
            Some(shared) => (shared, self.root.folder.as_path()),
            None => (value, self.folder.as_path()),
        };
        let text = |field: &str| declared.get(field).and_then(Value::as_str);
        Dependency {
            package: text("package").unwrap_or(key).to_owned(),
            folder: text("path").map(|path| normal(&base.join(path))),
            inherited: shared.map(|_| key.to_owned()),
        }
    }

    fn dependency_tables(&self) -> impl Iterator<Item = &Table> {
        let targets = self
            .table
            .get("target")
            .and_then(Value::as_table)
            .into_iter()
            .flat_map(Table::values)
            .filter_map(Value::as_table);
        std::iter::once(&self.table)
            .chain(targets)
            .flat_map(|table| {
                DEPENDENCY_TABLES
                    .iter()
                    .filter_map(|name| table.get(*name).and_then(Value::as_table))
            })
    }
}

impl Root {
    /// A table of `[workspace]`.
    fn shared(&self, table: &str) -> Option<&Table> {
        self.table.get("workspace")?.get(table)?.as_table()
    }
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// The table of a TOML file, `None` if there is no such file.
pub(crate) fn read(root: &Path, file: &Path) -> Result<Option<Table>, InputError> {
    let text = match fs::read_to_string(root.join(file)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(InputError::Read {
                path: file.to_owned(),
                source,
            });
        }
    };
    match text.parse() {
        Ok(table) => Ok(Some(table)),
        Err(error) => Err(syntax_error(file, text, &error)),
    }
}

/// A TOML error with its place.
pub(crate) fn syntax_error(file: &Path, text: String, error: &toml::de::Error) -> InputError {
    let file = SourceFile::new(file, text);
    InputError::Manifest {
        message: error.message().to_owned(),
        place: error
            .span()
            .map_or_else(|| Span::start_of(&file), |range| Span::new(&file, range)),
    }
}

/// One text for equal values: tables are sorted.
pub(crate) fn canonical(value: &Value) -> String {
    serde_json::to_string(value).expect("TOML holds nothing that JSON has not")
}

#[cfg(test)]
mod tests {
    use super::super::test_stack::write;
    use super::*;

    const EDITION: &str = "package.edition = '2024'\n";

    fn binaries(manifest: &str, files: &[&str]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            write(root.path(), &[(file, "")]);
        }
        let manifest = Manifest {
            name: "app".to_owned(),
            folder: PathBuf::new(),
            root: Arc::default(),
            table: format!("{EDITION}{manifest}").parse().unwrap(),
        };
        manifest.binaries(root.path()).into_iter().collect()
    }

    #[test]
    fn binaries_are_those_that_cargo_finds() {
        let all = [
            "src/main.rs",
            "src/other.rs",
            "src/bin/third.rs",
            "src/bin/fourth/main.rs",
        ];
        let other = "[[bin]]\nname = 'other'\npath = 'src/other.rs'\n";
        assert_eq!(binaries("", &["src/main.rs"]), ["app"]);
        assert_eq!(binaries("", &["src/lib.rs"]), [""; 0]);
        assert_eq!(
            binaries(other, &all),
            ["app", "fourth", "other", "third"],
            "a [[bin]] hides none of the others"
        );
        assert_eq!(
            binaries(&format!("package.autobins = false\n{other}"), &all),
            ["other"]
        );
        let renamed = "[[bin]]\nname = 'server'\npath = 'src/main.rs'\n";
        assert_eq!(
            binaries(renamed, &all),
            ["fourth", "server", "third"],
            "a file makes one binary"
        );
    }
}
