//! The Cargo workspace of the repository, read without cargo, and what its packages need from other workspaces.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::{Table, Value};

use crate::diagnostic::Span;

use super::cargo_config::CargoConfig;
use super::input_error::InputError;
use super::lexical::{normal, relative};
use super::manifests::{Manifest, NOT_COMPILED, Root, canonical, read};

const MANIFEST: &str = "Cargo.toml";
/// Profiles that nobody need declare.
const BUILT_IN: [&str; 4] = ["dev", "release", "test", "bench"];
/// More profiles than this inherit from each other only in a circle, which cargo refuses.
const LONGEST_CHAIN: usize = 8;

/// The root manifest, every package below it and those that were adopted.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Absolute.
    root: PathBuf,
    shared: Arc<Root>,
    /// Workspaces of packages that are not in this one, by their folders; `None` where there is no workspace.
    others: BTreeMap<PathBuf, Option<Arc<Root>>>,
    packages: BTreeMap<String, Manifest>,
}

impl Workspace {
    /// Reads `root/Cargo.toml` and the manifests of all members, and of what `[patch]` there and in cargo's
    /// configuration puts in the place of others. `build` is named where there is no workspace.
    pub(crate) fn load(
        root: &Path,
        config: &CargoConfig,
        build: &Span,
    ) -> Result<Self, InputError> {
        let Some(table) = read(root, Path::new(MANIFEST))? else {
            return Err(InputError::NoWorkspace {
                span: build.clone(),
            });
        };
        let shared = Arc::new(Root {
            folder: PathBuf::new(),
            table,
        });
        let mut workspace = Self {
            root: root.to_owned(),
            others: BTreeMap::new(),
            packages: BTreeMap::new(),
            shared: Arc::clone(&shared),
        };
        workspace.add(PathBuf::new(), shared.table.clone(), Arc::clone(&shared));
        for folder in workspace.member_folders()? {
            if let Some(table) = read(root, &folder.join(MANIFEST))? {
                workspace.add(folder, table, Arc::clone(&shared));
            }
        }
        let patches = config.patches().into_iter();
        let patches: Vec<PathBuf> = patches.map(|folder| relative(root, &folder)).collect();
        for folder in workspace.patched_folders().into_iter().chain(patches) {
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

    /// The package in `folder`, which is made known; `None` if there is none.
    pub(crate) fn adopt(&mut self, folder: &Path) -> Result<Option<&Manifest>, InputError> {
        let known = self.packages.values().find(|known| known.folder == folder);
        let name = match known.map(|known| known.name.clone()) {
            Some(name) => Some(name),
            None => match read(&self.root, &folder.join(MANIFEST))? {
                Some(table) => {
                    let shared = self.root_of(folder, &table)?;
                    self.add(folder.to_owned(), table, shared)
                }
                None => None,
            },
        };
        Ok(name.and_then(|name| self.packages.get(&name)))
    }

    /// What the root manifest says that concerns every build with `profile`; `None` if nobody declares it.
    pub(crate) fn settings(&self, profile: &str) -> Option<String> {
        let profiles = self.shared.table.get("profile").and_then(Value::as_table);
        let mut text = String::new();
        let mut name = profile.to_owned();
        for _ in 0..LONGEST_CHAIN {
            let declared = profiles.and_then(|profiles| profiles.get(&name));
            if let Some(declared) = declared {
                text += &format!("profile.{name}={}\n", canonical(declared));
            }
            match declared.and_then(|declared| declared.get("inherits")?.as_str()) {
                Some(parent) => name = parent.to_owned(),
                None if BUILT_IN.contains(&name.as_str()) => break,
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
                "" => self.shared.table.get(key),
                _ => self
                    .shared
                    .table
                    .get(table)
                    .and_then(|table| table.get(key)),
            };
            if let Some(value) = value {
                text += &format!("{key}={}\n", canonical(value));
            }
        }
        Some(text)
    }

    /// Whether cargo compiles incrementally with `profile`, unless it is told otherwise.
    pub(crate) fn is_incremental(&self, profile: &str) -> bool {
        let profiles = self.shared.table.get("profile").and_then(Value::as_table);
        let mut name = profile;
        for _ in 0..LONGEST_CHAIN {
            let declared = profiles.and_then(|profiles| profiles.get(name));
            let text = |key: &str| declared.and_then(|declared| declared.get(key));
            if let Some(is_incremental) = text("incremental").and_then(Value::as_bool) {
                return is_incremental;
            }
            match text("inherits").and_then(Value::as_str) {
                Some(parent) => name = parent,
                None => break,
            }
        }
        ["dev", "test"].contains(&name)
    }

    /// Everything in all manifests that decides which features of which packages are compiled, and more.
    pub(crate) fn resolution(&self) -> String {
        let mut shared = self.shared.table.clone();
        for part in NOT_COMPILED.into_iter().chain(["profile"]) {
            shared.remove(part);
        }
        let packages = self
            .packages
            .values()
            .flat_map(|package| [package.fingerprint(), package.inherited()]);
        std::iter::once(canonical(&Value::Table(shared)))
            .chain(packages)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The name of the package, unless the manifest is of a workspace alone.
    fn add(&mut self, folder: PathBuf, table: Table, root: Arc<Root>) -> Option<String> {
        let name = table.get("package")?.get("name")?.as_str()?.to_owned();
        self.packages.entry(name.clone()).or_insert(Manifest {
            name: name.clone(),
            folder,
            root,
            table,
        });
        Some(name)
    }

    /// The workspace that the package in `folder` belongs to, as cargo finds it: the one it names, else the nearest
    /// above it.
    fn root_of(&mut self, folder: &Path, table: &Table) -> Result<Arc<Root>, InputError> {
        let named = table
            .get("package")
            .and_then(|package| package.get("workspace")?.as_str());
        if let Some(named) = named {
            let folder = normal(&folder.join(named));
            return Ok(self.workspace_in(&folder)?.unwrap_or_default());
        }
        let start = normal(&self.root.join(folder));
        for above in start.ancestors() {
            let above = relative(&self.root, above);
            if let Some(found) = self.workspace_in(&above)? {
                return Ok(found);
            }
        }
        Ok(Arc::default())
    }

    /// The workspace whose root is `folder`.
    fn workspace_in(&mut self, folder: &Path) -> Result<Option<Arc<Root>>, InputError> {
        if folder == Path::new("") {
            return Ok(Some(Arc::clone(&self.shared)));
        }
        if let Some(known) = self.others.get(folder) {
            return Ok(known.clone());
        }
        let table = read(&self.root, &folder.join(MANIFEST))?;
        let found = table
            .filter(|table| table.contains_key("workspace"))
            .map(|table| {
                Arc::new(Root {
                    folder: folder.to_owned(),
                    table,
                })
            });
        self.others.insert(folder.to_owned(), found.clone());
        Ok(found)
    }

    fn patched_folders(&self) -> Vec<PathBuf> {
        let registries = self.shared.table.get("patch").and_then(Value::as_table);
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
            self.shared
                .table
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

#[cfg(test)]
mod tests {
    use super::super::test_stack::{span, write};
    use super::*;

    fn load(root: &Path) -> Workspace {
        let config = CargoConfig::load(root, None).unwrap();
        Workspace::load(root, &config, &span()).unwrap()
    }

    #[test]
    fn a_package_of_another_workspace_inherits_from_that() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &[
                (
                    "repo/Cargo.toml",
                    "[workspace]\nmembers = []\n[workspace.dependencies]\nkit = '9'\n",
                ),
                (
                    "shared/Cargo.toml",
                    "[workspace]\nmembers = ['a']\n[workspace.package]\nlicense = 'MIT'\n\
                     [workspace.dependencies]\nkit = { path = 'libraries/kit' }\n",
                ),
                (
                    "shared/a/Cargo.toml",
                    "[package]\nname = 'a'\nlicense.workspace = true\n[dependencies]\nkit.workspace = true\n",
                ),
                ("alone/Cargo.toml", "[package]\nname = 'alone'\n"),
            ],
        );
        let mut workspace = load(&folder.path().join("repo"));
        let a = workspace.adopt(Path::new("../shared/a")).unwrap().unwrap();
        assert_eq!(a.field("license"), Some("MIT"));
        assert_eq!(
            a.dependencies()[0].folder.as_deref(),
            Some(Path::new("../shared/libraries/kit"))
        );
        let alone = workspace.adopt(Path::new("../alone")).unwrap().unwrap();
        assert_eq!(alone.name, "alone");
        assert!(workspace.adopt(Path::new("../nowhere")).unwrap().is_none());
    }

    #[test]
    fn a_patch_in_the_configuration_makes_its_package_known() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("Cargo.toml", "[workspace]\nmembers = []\n"),
                (
                    ".cargo/config.toml",
                    "[patch.crates-io]\nserde = { path = 'vendor/serde' }\n",
                ),
                ("vendor/serde/Cargo.toml", "[package]\nname = 'serde'\n"),
            ],
        );
        let workspace = load(root.path());
        let serde = workspace.package("serde").unwrap();
        assert_eq!(serde.folder, Path::new("vendor/serde"));
    }

    #[test]
    fn a_profile_is_incremental_as_cargo_has_it() {
        let root = tempfile::tempdir().unwrap();
        let manifest = "[workspace]\nmembers = []\n[profile.fast]\ninherits = 'dev'\n\
                        [profile.small]\ninherits = 'release'\n[profile.odd]\ninherits = 'fast'\nincremental = false\n";
        write(root.path(), &[("Cargo.toml", manifest)]);
        let workspace = load(root.path());
        for (profile, expected) in [
            ("release", false),
            ("dev", true),
            ("fast", true),
            ("small", false),
            ("odd", false),
        ] {
            assert_eq!(workspace.is_incremental(profile), expected, "{profile}");
        }
    }
}
