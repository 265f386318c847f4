//! `Cargo.lock`, read without cargo. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde::Deserialize;

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

impl Locked {
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
    /// Reads the text of a lock file of any version.
    pub(crate) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            package: Vec<Locked>,
        }
        let packages = toml::from_str::<File>(text)?.package;
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, package) in packages.iter().enumerate() {
            by_name.entry(package.name.clone()).or_default().push(index);
        }
        Ok(Self { packages, by_name })
    }

    /// The local package of that name.
    pub(crate) fn local(&self, name: &str) -> Option<&Locked> {
        self.named(name)
            .map(|index| &self.packages[index])
            .find(|package| package.is_local())
    }

    /// All packages that `start` is compiled from, itself included, by name and version. `follow` says for a local
    /// package which of its dependencies count
    /// (as [`plain`] names): the lock file does not tell those of tests apart.
    pub(crate) fn closure<'a, E>(
        &'a self,
        start: &'a Locked,
        mut follow: impl FnMut(&Locked) -> Result<BTreeSet<String>, E>,
    ) -> Result<BTreeMap<(&'a str, &'a str), &'a Locked>, E> {
        let mut found = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(package) = queue.pop_front() {
            let key = (package.name.as_str(), package.version.as_str());
            if found.insert(key, package).is_some() {
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

    /// `name`, `name version` or `name version (source)`: as much as is needed to be unambiguous.
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
                    && source.is_none_or(|source| package.source.as_deref() == Some(source))
            })
    }

    fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        self.by_name.get(name).into_iter().flatten().copied()
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
}
