//! What goes wrong with a registry: where, while doing what, of what kind, and what the registry said about it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;

use super::said::Said;
use crate::Digest;

/// A request, or the transfer it belonged to, failed.
pub struct RegistryError(Box<Failure>);

struct Failure {
    host: String,
    repository: String,
    action: Action,
    kind: ErrorKind,
    said: Vec<Said>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What was being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Looking up a login, or changing it for a token.
    LogIn,
    /// Reading, or asking for, the manifest of this tag or digest.
    ReadManifest(String),
    /// Writing the manifest of this tag or digest.
    WriteManifest(String),
    /// Reading this blob.
    ReadBlob(Digest),
    /// Writing, or asking for, this blob.
    WriteBlob(Digest),
    /// Listing what refers to this manifest.
    ListReferrers(Digest),
    /// Listing this manifest among those that refer to another.
    Refer(Digest),
}

/// What kind of failure it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No login, or one that the registry does not take.
    #[error("the registry wants a valid login")]
    Unauthorized,
    /// The login may not do this.
    #[error("access is denied")]
    Denied,
    /// No such manifest, blob or repository.
    #[error("it is not there")]
    NotFound,
    /// Too many requests.
    #[error("the registry limits how often it is asked{}", after(.retry_after))]
    RateLimited {
        /// When the registry said to come back.
        retry_after: Option<Duration>,
    },
    /// The registry, or something before it, is in trouble.
    #[error("the registry is in trouble (status {status}){}", after(.retry_after))]
    Unavailable {
        /// 408 or 5xx.
        status: u16,
        /// When the registry said to come back.
        retry_after: Option<Duration>,
    },
    /// No connection, or one that broke or fell silent.
    #[error("the connection failed")]
    Unreachable,
    /// No trust between the two: certificates, protocol versions.
    #[error("no TLS connection")]
    Tls,
    /// The content is not what its digest says.
    #[error("the digest is {actual}, expected {expected}")]
    Digest {
        /// What was asked for, or sent.
        expected: Digest,
        /// What came, or what the registry says it got.
        actual: String,
    },
    /// The registry, or a proxy before it, takes nothing as large as this.
    #[error("it is larger than the registry takes")]
    TooLarge,
    /// The login could not be looked up.
    #[error("the login cannot be looked up")]
    Credentials,
    /// The content to be sent could not be read, or what was fetched could not be kept.
    #[error("the local copy cannot be used")]
    Local,
    /// An answer that makes no sense.
    #[error("{0}")]
    Protocol(String),
}

impl RegistryError {
    pub(super) fn new(host: &str, repository: &str, action: &Action, kind: ErrorKind) -> Self {
        Self(Box::new(Failure {
            host: host.to_owned(),
            repository: repository.to_owned(),
            action: action.clone(),
            kind,
            said: Vec::new(),
            source: None,
        }))
    }

    pub(super) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(super) fn saying(mut self, said: Vec<Said>) -> Self {
        self.0.said = said;
        self
    }

    /// The registry, as in references.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.0.repository
    }

    /// What was being done.
    #[must_use]
    pub fn action(&self) -> &Action {
        &self.0.action
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// What the registry said about it.
    #[must_use]
    pub fn said(&self) -> &[Said] {
        &self.0.said
    }

    /// Whether another try may help.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::RateLimited { .. } | ErrorKind::Unavailable { .. } | ErrorKind::Unreachable
        )
    }

    /// When the registry said to come back.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self.0.kind {
            ErrorKind::RateLimited { retry_after } | ErrorKind::Unavailable { retry_after, .. } => {
                retry_after
            }
            _ => None,
        }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure {
            host,
            repository,
            action,
            kind,
            said,
            ..
        } = &*self.0;
        write!(f, "{action} `{host}/{repository}`: {kind}")?;
        for (number, said) in said.iter().enumerate() {
            write!(f, "{}{said}", if number == 0 { " (" } else { "; " })?;
        }
        if said.is_empty() {
            Ok(())
        } else {
            f.write_str(")")
        }
    }
}

impl fmt::Debug for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryError({self}")?;
        if let Some(source) = &self.0.source {
            write!(f, ", because {source:?}")?;
        }
        f.write_str(")")
    }
}

impl Error for RegistryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LogIn => f.write_str("logging in to"),
            Self::ReadManifest(version) => write!(f, "reading manifest {version} of"),
            Self::WriteManifest(version) => write!(f, "writing manifest {version} of"),
            Self::ReadBlob(digest) => write!(f, "reading blob {digest} of"),
            Self::WriteBlob(digest) => write!(f, "writing blob {digest} of"),
            Self::ListReferrers(digest) => write!(f, "listing what refers to {digest} in"),
            Self::Refer(digest) => write!(f, "listing {digest} as a referrer in"),
        }
    }
}

fn after(retry_after: &Option<Duration>) -> String {
    match retry_after {
        Some(wait) => format!(", try again in {} s", wait.as_secs().max(1)),
        None => String::new(),
    }
}

/// The kind of failure that a status stands for.
pub(super) fn kind_of(status: StatusCode, retry_after: Option<Duration>) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        413 => ErrorKind::TooLarge,
        407 => ErrorKind::Protocol("the proxy wants a login".to_owned()),
        429 => ErrorKind::RateLimited { retry_after },
        status @ (408 | 500 | 502..=504) => ErrorKind::Unavailable {
            status,
            retry_after,
        },
        status => ErrorKind::Protocol(format!("the answer has status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_where_and_what_once() {
        let action = Action::WriteManifest("1.0".to_owned());
        let error = RegistryError::new("r.io", "team/a", &action, ErrorKind::Denied)
            .saying(vec![Said {
                code: "DENIED".to_owned(),
                message: "not yours".to_owned(),
            }])
            .because("the cause");
        assert_eq!(
            error.to_string(),
            "writing manifest 1.0 of `r.io/team/a`: access is denied (DENIED: not yours)"
        );
        assert_eq!(error.source().unwrap().to_string(), "the cause");
        let limited = ErrorKind::RateLimited {
            retry_after: Some(Duration::from_secs(90)),
        };
        assert_eq!(
            limited.to_string(),
            "the registry limits how often it is asked, try again in 90 s"
        );
    }
}
