//! What goes on while packages are resolved and fetched, for whoever shows it.

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity<'a> {
    /// A suite's signed list of indices is verified.
    Release {
        /// The suite.
        suite: &'a str,
    },
    /// The index of a suite has changed: it is downloaded and parsed.
    Index {
        /// The suite.
        suite: &'a str,
        /// The compressed size in bytes.
        size: u64,
    },
    /// That much is to be downloaded; the rest is in the cache.
    Missing {
        /// The number of packages.
        packages: usize,
        /// Their size in bytes.
        size: u64,
    },
    /// Bytes arrived, or what had arrived counts no more (negative).
    Bytes(i64),
    /// A package is downloaded and verified.
    Package {
        /// Its name.
        name: &'a str,
    },
}

/// Called from several threads, as things happen.
pub type Progress<'a> = dyn Fn(Activity<'_>) + Send + Sync + 'a;
