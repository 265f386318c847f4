//! Why an image could not be made from Debian packages.

use debian_packages::{CacheError, DownloadError, RequestError, TreeError};

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::stack::PackagesBuild;

/// Debian packages could not be resolved, downloaded or unpacked.
const PACKAGES: Code = Code::new("S0422");

/// What went wrong, and where the packages are named.
#[derive(Debug, thiserror::Error)]
#[error("the image cannot be made from Debian packages: {failure}")]
pub struct PackagesError {
    failure: PackagesFailure,
    span: Span,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackagesFailure {
    /// No versions fit, or the archive is not to be had.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A package is not to be had.
    #[error(transparent)]
    Download(#[from] Box<DownloadError>),
    /// The packages do not make an image.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// This machine's TLS configuration cannot be read.
    #[error("failed to start an HTTP client")]
    Client(#[from] reqwest::Error),
}

impl PackagesError {
    pub(crate) fn new(wanted: &PackagesBuild, failure: PackagesFailure) -> Self {
        Self {
            failure,
            span: wanted.span.clone(),
        }
    }

    pub(crate) fn diagnostic(&self) -> Diagnostic {
        let mut problem =
            Diagnostic::error(PACKAGES, self.to_string()).at(&self.span, "these packages");
        if let Some(cause) = std::error::Error::source(&self.failure) {
            problem = problem.caused_by(cause);
        }
        match &self.failure {
            PackagesFailure::Download(error) => match error.hint() {
                Some(hint) => problem.hint(hint),
                None => problem,
            },
            PackagesFailure::Tree(TreeError::Libraries(_)) => {
                problem.hint("take them out of `without`, or out of `drop` and `only`; plugins for programs that are not there go into `unchecked`")
            }
            _ => problem,
        }
    }
}
