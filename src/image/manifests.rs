//! The manifests of a Cargo workspace, read without cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use toml::{Table, Value};

use crate::diagnostic::{SourceFile, Span};

use super::input_error::InputError;

/// Parts of a manifest that no binary is made from.
const NOT_COMPILED: [&str; 6] = [
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
    table: Table,
}

/// A dependency of a manifest, with what the workspace says about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The package's own name, whatever the manifest calls it.
    pub package: String,
    /// Its folder, relative to the repository, for a path dependency.
    pub folder: Option<PathBuf>,
    /// The key in `[workspace.dependencies]`, if it is inherited.
    inherited: Option<String>,
}

/// The root manifest and every package below it.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    table: Table,
    packages: BTreeMap<String, Manifest>,
}

impl Manifest {
    /// The binaries of the package.
    pub(crate) fn binaries(&self, root: &Path) -> BTreeSet<String> {
        let folder = root.join(&self.folder);
        let mut names: BTreeSet<String> = self
            .table
            .get("bin")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|bin| bin.get("name")?.as_str().map(str::to_owned))
            .collect();
        if folder.join("src/main.rs").is_file() && names.is_empty() {
            names.insert(self.name.clone());
        }
        for entry in fs::read_dir(folder.join("src/bin"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            let is_binary = path.extension().is_some_and(|extension| extension == "rs")
                || path.join("main.rs").is_file();
            if let Some(stem) = path.file_stem().filter(|_| is_binary) {
                names.insert(stem.to_string_lossy().into_owned());
            }
        }
        names
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

    fn inherits(value: &Value) -> bool {
        value.get("workspace").and_then(Value::as_bool) == Some(true)
    }
}

impl Workspace {
    /// Reads `root/Cargo.toml` and the manifests of all members. `build` is named where there is no workspace.
    pub(crate) fn load(root: &Path, build: &Span) -> Result<Self, InputError> {
        let Some(table) = read(root, Path::new("Cargo.toml"))? else {
            return Err(InputError::NoWorkspace {
                span: build.clone(),
            });
        };
        let mut workspace = Self {
            root: root.to_owned(),
            packages: BTreeMap::new(),
            table,
        };
        workspace.add(PathBuf::new(), workspace.table.clone());
        for folder in workspace.member_folders()? {
            if let Some(table) = read(root, &folder.join("Cargo.toml"))? {
                workspace.add(folder, table);
            }
        }
        for folder in workspace.patched_folders() {
            workspace.adopt(&folder)?;
        }
        Ok(workspace)
    }

    /// The package of that name.
    pub(crate) fn package(&self, name: &str) -> Option<&Manifest> {
        self.packages.get(name)
    }

    /// The names of all packages.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.packages.keys().map(String::as_str)
    }

    /// Makes the package in `folder` known; `false` if there is none.
    pub(crate) fn adopt(&mut self, folder: &Path) -> Result<bool, InputError> {
        if self.packages.values().any(|known| known.folder == folder) {
            return Ok(true);
        }
        let table = read(&self.root, &folder.join("Cargo.toml"))?;
        Ok(table.is_some_and(|table| self.add(folder.to_owned(), table)))
    }

    /// What `manifest` is compiled with, without what only its tests need.
    pub(crate) fn dependencies(&self, manifest: &Manifest) -> Vec<Dependency> {
        manifest
            .dependency_tables()
            .flatten()
            .map(|(key, value)| self.dependency(manifest, key, value))
            .collect()
    }

    /// What the root manifest says that concerns `manifest`: inherited fields and dependencies.
    pub(crate) fn inherited(&self, manifest: &Manifest) -> String {
        let shared = self.table.get("workspace").and_then(Value::as_table);
        let entries = |table: &str, keys: BTreeSet<String>| {
            let entries = shared.and_then(|shared| shared.get(table)?.as_table());
            keys.into_iter()
                .filter_map(|key| {
                    let value = entries?.get(&key)?;
                    Some(format!("{table}.{key}={}\n", canonical(value)))
                })
                .collect::<String>()
        };
        let fields = manifest
            .table
            .get("package")
            .and_then(Value::as_table)
            .into_iter()
            .flatten()
            .filter(|(_, value)| Manifest::inherits(value))
            .map(|(key, _)| key.clone())
            .collect();
        let dependencies = self
            .dependencies(manifest)
            .into_iter()
            .filter_map(|dependency| dependency.inherited)
            .collect();
        entries("package", fields) + &entries("dependencies", dependencies)
    }

    /// What the root manifest says that concerns every build with `profile`; `None` if nobody declares it.
    pub(crate) fn settings(&self, profile: &str) -> Option<String> {
        let profiles = self.table.get("profile").and_then(Value::as_table);
        let mut text = String::new();
        let mut name = profile.to_owned();
        for _ in 0..8 {
            let declared = profiles.and_then(|profiles| profiles.get(&name));
            if let Some(declared) = declared {
                text += &format!("profile.{name}={}\n", canonical(declared));
            }
            match declared.and_then(|declared| declared.get("inherits")?.as_str()) {
                Some(parent) => name = parent.to_owned(),
                None if ["dev", "release", "test", "bench"].contains(&name.as_str()) => break,
                None => return None,
            }
        }
        for (table, key) in [
            ("", "patch"),
            ("", "replace"),
            ("workspace", "resolver"),
            ("package", "resolver"),
        ] {
            let value = match table {
                "" => self.table.get(key),
                _ => self.table.get(table).and_then(|table| table.get(key)),
            };
            if let Some(value) = value {
                text += &format!("{key}={}\n", canonical(value));
            }
        }
        Some(text)
    }

    /// Everything in all manifests that decides which features of which packages are compiled, and more.
    pub(crate) fn resolution(&self) -> String {
        let mut shared = self.table.clone();
        for part in NOT_COMPILED.into_iter().chain(["profile"]) {
            shared.remove(part);
        }
        let packages = self.packages.values().map(Manifest::fingerprint);
        std::iter::once(canonical(&Value::Table(shared)))
            .chain(packages)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Whether a package has features that are on unless they are switched off.
    pub(crate) fn has_default_features(&self, package: &str) -> bool {
        self.package(package).is_some_and(|manifest| {
            let features = manifest.table.get("features").and_then(Value::as_table);
            features.is_some_and(|features| features.contains_key("default"))
        })
    }

    /// A field of `[package]`, inherited or not.
    pub(crate) fn field<'a>(&'a self, manifest: &'a Manifest, key: &str) -> Option<&'a str> {
        let value = manifest.table.get("package")?.get(key)?;
        if Manifest::inherits(value) {
            self.table
                .get("workspace")?
                .get("package")?
                .get(key)?
                .as_str()
        } else {
            value.as_str()
        }
    }

    fn add(&mut self, folder: PathBuf, table: Table) -> bool {
        let name = table
            .get("package")
            .and_then(|package| package.get("name")?.as_str());
        let Some(name) = name.map(str::to_owned) else {
            return false;
        };
        self.packages.entry(name.clone()).or_insert(Manifest {
            name,
            folder,
            table,
        });
        true
    }

    fn dependency(&self, manifest: &Manifest, key: &str, value: &Value) -> Dependency {
        let shared = self
            .table
            .get("workspace")
            .and_then(|workspace| workspace.get("dependencies")?.get(key))
            .filter(|_| Manifest::inherits(value));
        let (declared, base) = match shared {
            Some(shared) => (shared, Path::new("")),
            None => (value, manifest.folder.as_path()),
        };
        let text = |field: &str| declared.get(field).and_then(Value::as_str);
        Dependency {
            package: text("package").unwrap_or(key).to_owned(),
            folder: text("path").map(|path| normal(&base.join(path))),
            inherited: shared.map(|_| key.to_owned()),
        }
    }

    fn patched_folders(&self) -> Vec<PathBuf> {
        let registries = self.table.get("patch").and_then(Value::as_table);
        registries
            .into_iter()
            .flat_map(Table::values)
            .filter_map(Value::as_table)
            .flat_map(Table::values)
            .filter_map(|patch| patch.get("path")?.as_str())
            .map(|path| normal(Path::new(path)))
            .collect()
    }

    fn member_folders(&self) -> Result<Vec<PathBuf>, InputError> {
        let list = |key: &str| -> Vec<&str> {
            self.table
                .get("workspace")
                .and_then(|workspace| workspace.get(key)?.as_array())
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect()
        };
        let excluded: Vec<PathBuf> = list("exclude")
            .into_iter()
            .map(|path| normal(Path::new(path)))
            .collect();
        let mut folders = Vec::new();
        for pattern in list("members") {
            folders.extend(expand(&self.root, pattern)?);
        }
        folders.retain(|folder| !excluded.iter().any(|path| folder.starts_with(path)));
        Ok(folders)
    }
}

/// Folders below `root` that `pattern` names; `*`, `?` and `[…]` stand for names within one folder.
fn expand(root: &Path, pattern: &str) -> Result<Vec<PathBuf>, InputError> {
    let mut folders = vec![PathBuf::new()];
    for part in pattern
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        if !part.contains(['*', '?', '[']) {
            for folder in &mut folders {
                folder.push(part);
            }
            continue;
        }
        let Ok(glob) = globset::Glob::new(part) else {
            return Ok(Vec::new());
        };
        let glob = glob.compile_matcher();
        let mut next = Vec::new();
        for folder in &folders {
            for name in subfolders(&root.join(folder))? {
                if glob.is_match(&name) {
                    next.push(folder.join(name));
                }
            }
        }
        folders = next;
    }
    Ok(folders.iter().map(|folder| normal(folder)).collect())
}

fn subfolders(folder: &Path) -> Result<Vec<String>, InputError> {
    let failed = |source| InputError::Read {
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.path().is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// `path` without `.` and with `..` taken away where it is a step back from a named folder.
fn normal(path: &Path) -> PathBuf {
    let mut parts: Vec<Component<'_>> = Vec::new();
    for part in path.components() {
        match (part, parts.last()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.into_iter().collect()
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
    use super::*;

    #[test]
    fn paths_are_made_normal() {
        for (path, expected) in [
            ("services/../crates/./a", "crates/a"),
            ("../shared/a", "../shared/a"),
            ("a/../../b", "../b"),
            ("./", ""),
        ] {
            assert_eq!(normal(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
