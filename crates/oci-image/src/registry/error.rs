//! What goes wrong with a registry: where, while doing what, of what kind, and what the registry said about it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use crate::Digest;

/// How much of what a registry says is shown.
const SAID_LIMIT: usize = 5;
const CODE_LIMIT: usize = 64;
const MESSAGE_LIMIT: usize = 400;

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

/// One error as a registry puts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// `DENIED`, `NAME_UNKNOWN`; empty where the answer had none.
    pub code: String,
    /// Text for people; may be empty.
    pub message: String,
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

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", message) => f.write_str(message),
            (code, "") => f.write_str(code),
            (code, message) => write!(f, "{code}: {message}"),
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

/// What an answer says went wrong: the errors of the specification, or what token servers write, or one line of
/// plain text. Pages for browsers say nothing.
pub(super) fn parse_said(content_type: &str, body: &[u8]) -> Vec<Said> {
    if let Ok(document) = serde_json::from_slice::<Document>(body) {
        return document.into_said();
    }
    let text = String::from_utf8_lossy(body);
    let line = text.trim_start().lines().next().unwrap_or_default();
    if !content_type.starts_with("text/plain") || line.starts_with('<') {
        return Vec::new();
    }
    said("", line).into_iter().collect()
}

/// All shapes at once: which fields there are tells which one it is.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    errors: Option<Vec<Entry>>,
    #[serde(default)]
    details: Option<serde_json::Value>,
    #[serde(default)]
    message: Option<serde_json::Value>,
    #[serde(default)]
    error: Option<serde_json::Value>,
    #[serde(default)]
    error_description: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: serde_json::Value,
}

impl Document {
    fn into_said(self) -> Vec<Said> {
        let text = |value: Option<serde_json::Value>| match value {
            Some(serde_json::Value::String(text)) => text,
            _ => String::new(),
        };
        if let Some(errors) = self.errors {
            return errors
                .into_iter()
                .filter_map(|entry| said(&text(Some(entry.code)), &text(Some(entry.message))))
                .take(SAID_LIMIT)
                .collect();
        }
        let message = [self.error_description, self.details, self.message]
            .into_iter()
            .map(text)
            .find(|text| !text.is_empty());
        said(&text(self.error), &message.unwrap_or_default())
            .into_iter()
            .collect()
    }
}

fn said(code: &str, message: &str) -> Option<Said> {
    let said = Said {
        code: printable(code, CODE_LIMIT),
        message: printable(message, MESSAGE_LIMIT),
    };
    (!said.code.is_empty() || !said.message.is_empty()).then_some(said)
}

/// At most `limit` characters, on one line, none of which a terminal obeys.
pub(super) fn printable(text: &str, limit: usize) -> String {
    let unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let clean: String = text
        .chars()
        .map(|c| if unseen(c) { ' ' } else { c })
        .take(limit + 1)
        .collect();
    match clean.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", clean[..end].trim()),
        None => clean.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(content_type: &str, body: &str) -> String {
        let said: Vec<String> = parse_said(content_type, body.as_bytes())
            .iter()
            .map(ToString::to_string)
            .collect();
        said.join(" | ")
    }

    #[test]
    fn what_a_registry_says_is_found_in_every_shape() {
        let json = "application/json";
        for (content_type, body, expected) in [
            (
                json,
                r#"{"errors":[{"code":"DENIED","message":"no","detail":[1]},{"code":"X"}]}"#,
                "DENIED: no | X",
            ),
            (
                json,
                r#"{"errors":[{"code":"DENIED","message":"a\u001b[31m\nb"}]}"#,
                "DENIED: a [31m b",
            ),
            (
                json,
                r#"{"details":"incorrect username or password"}"#,
                "incorrect username or password",
            ),
            (
                json,
                r#"{"error":"invalid_grant","error_description":"expired"}"#,
                "invalid_grant: expired",
            ),
            (json, r#"{"errors":[{"code":7,"message":null}]}"#, ""),
            (json, r#"{"errors":null}"#, ""),
            (json, "[]", ""),
            (json, "{", ""),
            (
                "text/plain; charset=utf-8",
                "404 page not found\n",
                "404 page not found",
            ),
            ("text/plain", "<html>", ""),
            ("text/html", "<html><body>Bad gateway</body></html>", ""),
            ("", "", ""),
        ] {
            assert_eq!(shown(content_type, body), expected, "{body}");
        }
        let long = format!(
            r#"{{"errors":[{{"code":"A","message":"{}"}}]}}"#,
            "ä".repeat(5_000)
        );
        assert_eq!(shown(json, &long).chars().count(), "A: ".len() + 400 + 1);
    }

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

    proptest! {
        #[test]
        fn no_answer_confuses_it(content_type in "(application/json|text/plain|.{0,12})", body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for said in parse_said(&content_type, &body) {
                prop_assert!(!said.to_string().contains(char::is_control));
            }
        }

        #[test]
        fn printable_is_bounded(text in ".{0,80}", limit in 1_usize..40) {
            let shown = printable(&text, limit);
            prop_assert!(shown.chars().count() <= limit + 1);
            prop_assert!(!shown.contains(char::is_control));
        }
    }
}
