//! `Cargo.lock`, read without cargo. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;

use serde::Deserialize;

use crate::diagnostic::{SourceFile, Span};

use super::input_error::InputError;
use super::manifests::syntax_error;

/// Its name, in the repository.
pub(crate) const CARGO_LOCK: &str = "Cargo.lock";

/// The packages of a lock file and the edges between them.
#[derive(Debug)]
pub(crate) struct Lockfile {
    packages: Vec<Locked>,
    by_name: HashMap<String, Vec<usize>>,
}

/// One `[[package]]`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Locked {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    source: Option<String>,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// What tells packages apart: name, version and source. The same version may come from two sources.
pub(crate) type Key<'a> = (&'a str, &'a str, &'a str);

impl Locked {
    /// What tells it apart from all others.
    pub(crate) fn key(&self) -> Key<'_> {
        let source = self.source.as_deref().unwrap_or_default();
        (&self.name, &self.version, source)
    }

    /// Whether its sources lie in this repository (or beside it) instead of a registry.
    pub(crate) fn is_local(&self) -> bool {
        self.source.is_none()
    }

    /// Where cargo has it from, as the lock file writes it.
    pub(crate) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// SHA-256 of the `.crate` file, in hexadecimal digits; registries have it.
    pub(crate) fn checksum(&self) -> Option<&str> {
        self.checksum.as_deref()
    }

    /// What pins its content.
    pub(crate) fn fingerprint(&self) -> String {
        let source = self.source.as_deref().unwrap_or_default();
        match &self.checksum {
            Some(checksum) => checksum.clone(),
            None => source.to_owned(),
        }
    }

    /// Names of the packages it depends on, with those that only its tests need.
    pub(crate) fn dependency_names(&self) -> impl Iterator<Item = &str> {
        self.dependencies
            .iter()
            .map(|dependency| dependency.split(' ').next().unwrap_or_default())
    }
}

impl Lockfile {
    /// Reads the text of a lock file of any version. Every package that one of them names must be in it.
    pub(crate) fn parse(text: &str) -> Result<Self, InputError> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            package: Vec<Locked>,
        }
        let packages = toml::from_str::<File>(text)
            .map_err(|error| syntax_error(Path::new(CARGO_LOCK), text.to_owned(), &error))?
            .package;
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, package) in packages.iter().enumerate() {
            by_name.entry(package.name.clone()).or_default().push(index);
        }
        let lock = Self { packages, by_name };
        for package in &lock.packages {
            for dependency in &package.dependencies {
                if lock.dependency(dependency).is_none() {
                    return Err(unresolved(text, package, dependency));
                }
            }
        }
        Ok(lock)
    }

    /// The local package of that name.
    pub(crate) fn local(&self, name: &str) -> Option<&Locked> {
        self.named(name)
            .map(|index| &self.packages[index])
            .find(|package| package.is_local())
    }

    /// What to call a package: with its source, where another one has the same name and version.
    pub(crate) fn name_of(&self, package: &Locked) -> String {
        let same = self.named(&package.name).filter(|&index| {
            let other = &self.packages[index];
            other.version == package.version
        });
        let name = format!("{} {}", package.name, package.version);
        match (same.count(), &package.source) {
            (0 | 1, _) | (_, None) => name,
            (_, Some(source)) => format!("{name} ({source})"),
        }
    }

    /// All packages that `start` is compiled from, itself included. `follow` says for a local package which of its
    /// dependencies count (as [`plain`] names): the lock file does not tell those of tests apart.
    pub(crate) fn closure<'a, E>(
        &'a self,
        start: &'a Locked,
        mut follow: impl FnMut(&Locked) -> Result<BTreeSet<String>, E>,
    ) -> Result<BTreeMap<Key<'a>, &'a Locked>, E> {
        let mut found = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(package) = queue.pop_front() {
            if found.insert(package.key(), package).is_some() {
                continue;
            }
            let followed = match package.is_local() {
                true => Some(follow(package)?),
                false => None,
            };
            for dependency in &package.dependencies {
                if let Some(next) = self.dependency(dependency)
                    && followed
                        .as_ref()
                        .is_none_or(|names| names.contains(&plain(&next.name)))
                {
                    queue.push_back(next);
                }
            }
        }
        Ok(found)
    }

    /// The packages that `package` depends on, with those that only its tests need.
    pub(crate) fn dependencies<'a>(
        &'a self,
        package: &'a Locked,
    ) -> impl Iterator<Item = &'a Locked> {
        package
            .dependencies
            .iter()
            .filter_map(|dependency| self.dependency(dependency))
    }

    /// `name`, `name version` or `name version (source)`: as much as is needed to be unambiguous. The source of a
    /// package names the commit behind a `#`, that of a dependency does not.
    fn dependency(&self, text: &str) -> Option<&Locked> {
        let mut parts = text.splitn(3, ' ');
        let name = parts.next()?;
        let version = parts.next();
        let source = parts
            .next()
            .map(|source| source.trim_matches(|c| c == '(' || c == ')'));
        self.named(name)
            .map(|index| &self.packages[index])
            .find(|package| {
                version.is_none_or(|version| package.version == version)
                    && source.is_none_or(|source| without_commit(package) == Some(without(source)))
            })
    }

    fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        self.by_name.get(name).into_iter().flatten().copied()
    }
}

fn without_commit(package: &Locked) -> Option<&str> {
    package.source.as_deref().map(without)
}

fn without(source: &str) -> &str {
    source.split_once('#').map_or(source, |(source, _)| source)
}

fn unresolved(text: &str, package: &Locked, dependency: &str) -> InputError {
    let file = SourceFile::new(CARGO_LOCK, text);
    let quoted = format!("\"{dependency}\"");
    let place = match text.find(&quoted) {
        Some(start) => Span::new(&file, start..start + quoted.len()),
        None => Span::start_of(&file),
    };
    InputError::Manifest {
        message: format!(
            "`{}` needs `{dependency}`, which is not in Cargo.lock",
            package.name
        ),
        place,
    }
}

/// Cargo takes `-` and `_` in a package's name for the same.
pub(crate) fn plain(name: &str) -> String {
    name.replace('_', "-")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const LOCK: &str = r#"
version = 4

[[package]]
name = "app"
version = "0.1.0"
dependencies = ["kit", "rand 0.9.1", "insta"]

[[package]]
name = "kit"
version = "0.1.0"
dependencies = ["rand 0.8.5"]

[[package]]
name = "other"
version = "0.1.0"
dependencies = ["rand 0.9.1"]

[[package]]
name = "insta"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "c1"

[[package]]
name = "rand"
version = "0.8.5"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "c2"

[[package]]
name = "rand"
version = "0.9.1"
source = "git+https://example.com/rand?rev=1#abcdef"
dependencies = ["rand_core"]

[[package]]
name = "rand_core"
version = "0.9.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "c3"
"#;

    #[test]
    fn a_closure_holds_what_a_package_is_compiled_from() {
        let lock = Lockfile::parse(LOCK).unwrap();
        let app = lock.local("app").unwrap();
        let closure = lock
            .closure(app, |_| {
                Ok::<_, Infallible>(["kit", "rand"].map(str::to_owned).into())
            })
            .unwrap();
        let found: Vec<String> = closure
            .values()
            .map(|package| {
                format!(
                    "{} {} {}",
                    package.name,
                    package.version,
                    package.fingerprint()
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                "app 0.1.0 ",
                "kit 0.1.0 ",
                "rand 0.8.5 c2",
                "rand 0.9.1 git+https://example.com/rand?rev=1#abcdef",
                "rand_core 0.9.0 c3",
            ]
        );
        assert!(lock.local("rand").is_none(), "not local");
    }

    /// A git dependency may have the version of a crate in the registry.
    const TWO_SOURCES: &str = r#"
version = 4

[[package]]
name = "app"
version = "0.1.0"
dependencies = [
 "foo 1.0.0 (git+https://example.com/foo?rev=x)",
 "foo 1.0.0 (registry+https://github.com/rust-lang/crates.io-index)",
]

[[package]]
name = "foo"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "c1"

[[package]]
name = "foo"
version = "1.0.0"
source = "git+https://example.com/foo?rev=x#abcdef"
"#;

    #[test]
    fn two_sources_of_one_version_are_two_packages() {
        let lock = Lockfile::parse(TWO_SOURCES).unwrap();
        let app = lock.local("app").unwrap();
        let closure = lock
            .closure(app, |_| Ok::<_, Infallible>(["foo".to_owned()].into()))
            .unwrap();
        let found: Vec<(String, String)> = closure
            .values()
            .map(|package| (lock.name_of(package), package.fingerprint()))
            .collect();
        let registry = "registry+https://github.com/rust-lang/crates.io-index";
        let git = "git+https://example.com/foo?rev=x#abcdef";
        let expected = [
            ("app 0.1.0".to_owned(), String::new()),
            (format!("foo 1.0.0 ({git})"), git.to_owned()),
            (format!("foo 1.0.0 ({registry})"), "c1".to_owned()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_dependency_that_is_not_there_is_an_error_with_its_place() {
        let text = LOCK.replace("\"rand 0.8.5\"", "\"rand 0.7.0\"");
        let error = Lockfile::parse(&text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`kit` needs `rand 0.7.0`, which is not in Cargo.lock"
        );
        let InputError::Manifest { place, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(place.text(), "\"rand 0.7.0\"");
    }
}
