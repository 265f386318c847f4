//! Archives as they are now: releases verified, indices fetched where they changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;

use crate::cache::{Cache, failed};
use crate::http::{Expected, FetchError, Http};
use crate::index::{Index, IndexError};
use crate::keyring::{Keyring, KeyringError};
use crate::progress::{Activity, Progress};
use crate::release::{IndexFile, Release, ReleaseError};
use crate::source::{Mirrors, Source};

/// Those of Debian are 150 kB.
const LARGEST_RELEASE: usize = 16 << 20;

/// Access to archives: the cache, the network, and which mirrors to use.
#[derive(Debug, Clone)]
pub struct Fetcher {
    pub(crate) cache: Cache,
    pub(crate) http: Http,
    pub(crate) mirrors: Mirrors,
}

/// Why the indices of a source are not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The keys are not there.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// `InRelease` is not to be believed.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// Something could not be downloaded.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// An index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// A suite of a source that was verified.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) uri: String,
    pub(crate) name: String,
    pub(crate) release: Release,
    /// One a component.
    pub(crate) indices: Vec<Index>,
}

impl Fetcher {
    /// Fails when the TLS configuration of this machine cannot be read. A rustls
    /// provider must have been installed by the program, as for every client of reqwest.
    /// Proxies are those of the environment.
    pub fn new(cache: Cache, mirrors: Mirrors) -> Result<Self, reqwest::Error> {
        Self::with_pause(cache, mirrors, Duration::from_millis(500))
    }

    /// `pause` stands before the second attempt at something, see [`Http`].
    pub(crate) fn with_pause(
        cache: Cache,
        mirrors: Mirrors,
        pause: Duration,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            cache,
            http: Http::new(pause)?,
            mirrors,
        })
    }
}

/// All suites of the sources, in their order, for one architecture.
pub(crate) async fn suites(
    fetcher: &Fetcher,
    sources: &[Source],
    architecture: &str,
    progress: &Progress<'_>,
) -> Result<Vec<Suite>, ArchiveError> {
    let keyrings = keyrings(sources)?;
    let places = sources.iter().flat_map(|source| {
        source
            .suites
            .iter()
            .map(move |suite| (source, suite.as_str()))
    });
    let suites = places.enumerate().map(|(origin, place)| {
        let keyring = &keyrings[place.0.keyring.as_path()];
        suite(fetcher, place, (origin, architecture), keyring, progress)
    });
    try_join_all(suites).await
}

fn keyrings(sources: &[Source]) -> Result<BTreeMap<&Path, Keyring>, KeyringError> {
    let mut keyrings = BTreeMap::new();
    for source in sources {
        let path = source.keyring.as_path();
        if !keyrings.contains_key(path) {
            keyrings.insert(path, Keyring::load(path)?);
        }
    }
    Ok(keyrings)
}

async fn suite(
    fetcher: &Fetcher,
    place: (&Source, &str),
    (origin, architecture): (usize, &str),
    keyring: &Keyring,
    progress: &Progress<'_>,
) -> Result<Suite, ArchiveError> {
    let (source, name) = place;
    let release = release(fetcher, place, keyring).await?;
    progress(Activity::Release { suite: name });
    let mut indices = Vec::new();
    for component in &source.components {
        let file = release.packages(component, architecture, place)?;
        indices.push(index(fetcher, place, (&release, file), (origin, progress)).await?);
    }
    Ok(Suite {
        uri: source.uri.clone(),
        name: name.to_owned(),
        release,
        indices,
    })
}

/// The release that the archive has, or a newer one that was seen before: an
/// archive does not go back, but caches and attackers do.
async fn release(
    fetcher: &Fetcher,
    (source, suite): (&Source, &str),
    keyring: &Keyring,
) -> Result<Release, ArchiveError> {
    let url = fetcher
        .mirrors
        .url(&source.uri, &format!("dists/{suite}/InRelease"));
    let now = Timestamp::now();
    let fetched = fetcher.http.small(&url, LARGEST_RELEASE).await?;
    let release = Release::verify(&fetched, keyring, (source, suite), now)?;
    let path = fetcher.cache.release(&source.uri, suite);
    let seen = fs::read(&path).ok();
    if seen.as_ref() == Some(&fetched) {
        return Ok(release);
    }
    let seen = seen.and_then(|seen| Release::verify(&seen, keyring, (source, suite), now).ok());
    if let Some(seen) = seen
        && seen.date > release.date
    {
        tracing::debug!(
            suite,
            "the mirror delivers an older index than was seen before"
        );
        return Ok(seen);
    }
    let temporary = fetcher.cache.temporary().map_err(FetchError::from)?;
    fs::write(temporary.path(), &fetched)
        .map_err(failed("write", &path))
        .and_then(|()| fetcher.cache.keep(temporary, &path))
        .map_err(FetchError::from)?;
    Ok(release)
}

async fn index(
    fetcher: &Fetcher,
    (source, suite): (&Source, &str),
    (release, file): (&Release, &IndexFile),
    (origin, progress): (usize, &Progress<'_>),
) -> Result<Index, ArchiveError> {
    if let Some(index) = Index::open(&fetcher.cache, &file.digest, origin)? {
        return Ok(index);
    }
    progress(Activity::Index {
        suite,
        size: file.size,
    });
    let packages = download(fetcher, (source, suite), (release, file)).await?;
    let (cache, file) = (fetcher.cache.clone(), file.clone());
    let built = tokio::task::spawn_blocking(move || {
        Index::build(&cache, &file.digest, (&file.path, &packages.path))?;
        Index::open(&cache, &file.digest, origin)
    });
    let index = built
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    index.ok_or_else(|| {
        let gone = std::io::Error::other("it was removed at once");
        IndexError::from(failed("read", Path::new("the cached index"))(gone)).into()
    })
}

/// A downloaded index, which nobody needs once it is parsed.
struct Compressed {
    path: PathBuf,
}

impl Drop for Compressed {
    fn drop(&mut self) {
        // Left-overs are removed when the cache is opened some day.
        let _ = fs::remove_file(&self.path);
    }
}

async fn download(
    fetcher: &Fetcher,
    (source, suite): (&Source, &str),
    (release, file): (&Release, &IndexFile),
) -> Result<Compressed, FetchError> {
    let expected = Expected {
        digest: file.digest,
        size: file.size,
    };
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let by_hash = format!("{folder}/by-hash/SHA256/{}", file.digest.hex());
    let target = fetcher.cache.temporary()?.path().to_owned();
    let get = async |path: &str| {
        let url = fetcher
            .mirrors
            .url(&source.uri, &format!("dists/{suite}/{path}"));
        let place = (&fetcher.cache, target.clone());
        fetcher.http.verified(&url, expected, place, &|_| ()).await
    };
    let result = match release.by_hash {
        true => get(&by_hash).await,
        false => get(&file.path).await,
    };
    match result {
        // Some mirrors and proxies lack the folders of hashes.
        Err(FetchError::NotFound { .. }) if release.by_hash => get(&file.path).await?,
        other => other?,
    }
    Ok(Compressed { path: target })
}

#[cfg(test)]
mod tests;
