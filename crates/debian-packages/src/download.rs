//! The packages of a lock, each verified before it is used, also out of the cache.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};
use oci_image::DigestWriter;

use crate::archive::Fetcher;
use crate::cache::touch;
use crate::http::{Expected, FetchError};
use crate::lock::{Lock, LockedPackage};
use crate::progress::{Activity, Progress};

/// Downloads at the same time.
const PARALLEL: usize = 6;

/// A package that is here, with the content that its lock names.
#[derive(Debug, Clone)]
pub struct DebFile {
    /// What it is.
    pub package: LockedPackage,
    /// Where it is.
    pub path: PathBuf,
}

/// Why a package of a lock is not here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The archive has a newer one by now.
    #[error("the archive no longer has {package} {version}, which the lock file names")]
    Superseded {
        /// The package.
        package: String,
        /// The version that is gone.
        version: String,
        /// Its address.
        #[source]
        source: FetchError,
    },
    /// The download failed.
    #[error("failed to download {package} {version}")]
    Fetch {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// The cause.
        #[source]
        source: FetchError,
    },
}

impl DownloadError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Superseded { .. } => Some(
                "`stackctl build --update-packages` takes the version that is there now; \
                 snapshot.debian.org keeps old ones",
            ),
            Self::Fetch {
                source: FetchError::Mismatch { .. },
                ..
            } => {
                Some("the mirror or a proxy on the way changes files, or the lock file was edited")
            }
            Self::Fetch { .. } => None,
        }
    }
}

/// Makes sure that all packages of the lock are in the cache; they come in its order.
pub async fn fetch(
    lock: &Lock,
    fetcher: &Fetcher,
    progress: &Progress<'_>,
) -> Result<Vec<DebFile>, DownloadError> {
    let files: Vec<DebFile> = lock
        .packages
        .iter()
        .map(|package| DebFile {
            package: package.clone(),
            path: fetcher.cache.package(&package.digest),
        })
        .collect();
    let missing = missing(&files).await;
    if !missing.is_empty() {
        progress(Activity::Missing {
            packages: missing.len(),
            size: missing.iter().map(|file| file.package.size).sum(),
        });
    }
    stream::iter(missing)
        .map(Ok)
        .try_for_each_concurrent(PARALLEL, async |file| {
            download(lock, fetcher, &file, progress).await
        })
        .await?;
    Ok(files)
}

async fn download(
    lock: &Lock,
    fetcher: &Fetcher,
    file: &DebFile,
    progress: &Progress<'_>,
) -> Result<(), DownloadError> {
    let package = &file.package;
    let url = fetcher
        .mirrors
        .url(&lock.suites[package.suite].uri, &package.path);
    let expected = Expected {
        digest: package.digest,
        size: package.size,
    };
    let place = (&fetcher.cache, file.path.clone());
    let arrived = |bytes| progress(Activity::Bytes(bytes));
    let result = fetcher.http.verified(&url, expected, place, &arrived).await;
    let (name, version) = (package.name.clone(), package.version.to_string());
    result.map_err(|source| match source {
        FetchError::NotFound { .. } => DownloadError::Superseded {
            package: name,
            version,
            source,
        },
        source => DownloadError::Fetch {
            package: name,
            version,
            source,
        },
    })?;
    progress(Activity::Package {
        name: &package.name,
    });
    Ok(())
}

/// Those that are not in the cache, or not as they should be.
async fn missing(files: &[DebFile]) -> Vec<DebFile> {
    let checks = files.iter().cloned().map(|file| async move {
        let check = tokio::task::spawn_blocking(move || {
            let good = is_good(&file.path, &file.package).unwrap_or(false);
            (!good).then_some(file)
        });
        check
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    });
    stream::iter(checks)
        .buffered(PARALLEL)
        .filter_map(async |missing| missing)
        .collect()
        .await
}

fn is_good(path: &Path, package: &LockedPackage) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() != package.size {
        return Ok(false);
    }
    let mut writer = DigestWriter::new(io::sink());
    io::copy(&mut file, &mut writer)?;
    let good = writer.finish().1 == package.digest;
    if good {
        touch(&file);
    }
    Ok(good)
}

#[cfg(test)]
mod tests;
