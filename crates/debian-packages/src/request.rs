//! From a request to a lock: the one step that looks at indices.

use std::collections::BTreeSet;
use std::sync::Arc;

use oci_image::Digest;

use crate::archive::{ArchiveError, Fetcher, Suite, suites};
use crate::index::{Index, IndexError};
use crate::lock::{LeftOut, Lock, LockedPackage, LockedSuite};
use crate::package::Package;
use crate::progress::Progress;
use crate::resolve::{self, Packages, Resolution, ResolveError, Wanted};
use crate::source::Source;

/// Packages that an image is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where they come from.
    pub sources: Vec<Source>,
    /// Debian's name of the architecture: `amd64`, `arm64`.
    pub architecture: String,
    /// Names, or `name=version`.
    pub packages: Vec<String>,
    /// Not pulled in although something depends on them, and nothing in their
    /// place: what only maintainer scripts need, which never run.
    pub exclude: BTreeSet<String>,
    /// Packages whose dependencies are not followed: those of which an image
    /// takes single files. What these need all the same, the check of libraries finds.
    pub without_dependencies: BTreeSet<String>,
}

/// Why a request did not become a lock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The indices are not to be had.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// No set of packages fits.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A package is asked for and excluded.
    #[error("`{0}` is both asked for and excluded")]
    Excluded(String),
    /// The index says something that a lock cannot hold.
    #[error(
        "the index names `{path}` as the file of `{package}`, which is not a path in an archive"
    )]
    Path {
        /// The package.
        package: String,
        /// Its file as the index has it.
        path: String,
    },
}

impl Request {
    /// Changes with everything that another lock would be needed for; not with
    /// the order of names, keyrings or mirrors.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut lines = vec![format!("architecture {}", self.architecture)];
        for source in &self.sources {
            let (suites, components) = (source.suites.join(" "), source.components.join(" "));
            lines.push(format!("source {} {suites} / {components}", source.uri));
        }
        let packages: BTreeSet<_> = self.packages.iter().collect();
        lines.extend(packages.iter().map(|name| format!("package {name}")));
        lines.extend(self.exclude.iter().map(|name| format!("exclude {name}")));
        let alone = self.without_dependencies.iter();
        lines.extend(alone.map(|name| format!("without-dependencies {name}")));
        Digest::of(lines.join("\n").as_bytes())
    }
}

/// Resolves the request against the archives as they are now.
pub async fn resolve(
    request: &Request,
    fetcher: &Fetcher,
    progress: &Progress<'_>,
) -> Result<Lock, RequestError> {
    let names = request
        .packages
        .iter()
        .map(|name| name.split('=').next().unwrap_or(name));
    if let Some(both) = names
        .into_iter()
        .find(|&name| request.exclude.contains(name))
    {
        return Err(RequestError::Excluded(both.to_owned()));
    }
    let suites = suites(fetcher, &request.sources, &request.architecture, progress).await?;
    let universe = Universe { suites };
    let wanted = Wanted {
        packages: &request.packages,
        exclude: &request.exclude,
        alone: &request.without_dependencies,
    };
    let resolution = resolve::resolve(&universe, wanted)?;
    lock(request, &universe, resolution)
}

/// The packages of all suites of a request.
struct Universe {
    suites: Vec<Suite>,
}

impl Universe {
    fn collect(
        &self,
        lookup: impl Fn(&Index) -> Result<Vec<Package>, IndexError>,
    ) -> Result<Vec<Arc<Package>>, IndexError> {
        let mut packages = Vec::new();
        for index in self.suites.iter().flat_map(|suite| &suite.indices) {
            packages.extend(lookup(index)?.into_iter().map(Arc::new));
        }
        Ok(packages)
    }
}

impl Packages for Universe {
    fn named(&self, name: &str) -> Result<Vec<Arc<Package>>, IndexError> {
        self.collect(|index| index.named(name))
    }

    fn providing(&self, name: &str) -> Result<Vec<Arc<Package>>, IndexError> {
        self.collect(|index| index.providing(name))
    }

    fn names(&self) -> Result<Vec<String>, IndexError> {
        let mut names = Vec::new();
        for index in self.suites.iter().flat_map(|suite| &suite.indices) {
            names.extend(index.names()?);
        }
        Ok(names)
    }

    /// Security updates win, then the order of the sources.
    fn rank(&self, package: &Package) -> usize {
        let suite = &self.suites[package.origin];
        let behind = if suite.name.contains("-security") {
            0
        } else {
            self.suites.len()
        };
        behind + package.origin
    }
}

fn lock(
    request: &Request,
    universe: &Universe,
    resolution: Resolution,
) -> Result<Lock, RequestError> {
    let suites = universe.suites.iter().map(|suite| LockedSuite {
        uri: suite.uri.clone(),
        name: suite.name.clone(),
        date: suite.release.date,
        signed_by: suite.release.fingerprint.clone(),
    });
    let mut packages = Vec::new();
    for package in resolution.packages.values() {
        if !crate::lock::is_pool_path(&package.path) {
            return Err(RequestError::Path {
                package: package.name.clone(),
                path: package.path.clone(),
            });
        }
        packages.push(LockedPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            source: package.source.clone(),
            digest: package.digest,
            size: package.size,
            suite: package.origin,
            path: package.path.clone(),
        });
    }
    let left_out = resolution.left_out.into_iter().map(|(name, by)| LeftOut {
        name,
        needed_by: by.into_iter().collect(),
    });
    Ok(Lock {
        request: request.digest(),
        architecture: request.architecture.clone(),
        suites: suites.collect(),
        left_out: left_out.collect(),
        packages,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            sources: Source::debian("bookworm"),
            architecture: "amd64".to_owned(),
            packages: vec!["b".to_owned(), "a".to_owned()],
            exclude: BTreeSet::from(["perl".to_owned()]),
            without_dependencies: BTreeSet::new(),
        }
    }

    #[test]
    fn the_digest_changes_with_what_is_asked_for_alone() {
        let digest = request().digest();
        let mut same = request();
        same.packages.reverse();
        same.packages.push("a".to_owned());
        same.sources[0].keyring = "/other".into();
        assert_eq!(same.digest(), digest);
        let changes: [fn(&mut Request); 6] = [
            |request| request.architecture = "arm64".to_owned(),
            |request| request.packages = vec!["a".to_owned()],
            |request| request.exclude.clear(),
            |request| request.without_dependencies = request.exclude.clone(),
            |request| request.sources[0].suites.truncate(1),
            |request| request.sources[1].uri = "http://elsewhere".to_owned(),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut other = request();
            change(&mut other);
            assert_ne!(other.digest(), digest, "{number}");
        }
    }
}
