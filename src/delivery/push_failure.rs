//! What keeps a Docker engine from pushing, read off its words. Pure.

/// What keeps an image from a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushFailure {
    /// No login, or not the right one.
    Unauthorized,
    /// It speaks plain http, and the engine insists on https.
    PlainHttp,
    /// Its certificate is not trusted.
    Certificate,
    /// Nobody answers.
    Unreachable,
    /// The registry has no such repository and does not make one.
    NoRepository,
    /// The engine does not have the image.
    NoImage,
    /// Something else.
    Unknown,
}

impl PushFailure {
    /// Reads the kind off an error message of the engine.
    #[must_use]
    pub fn of(message: &str) -> Self {
        let message = message.to_ascii_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
        if has(&["server gave http response to https client"]) {
            Self::PlainHttp
        } else if has(&["x509:", "certificate"]) {
            Self::Certificate
        } else if has(&[
            "no such host",
            "connection refused",
            "i/o timeout",
            "timeout exceeded",
            "network is unreachable",
            "no route to host",
            "tls handshake timeout",
        ]) {
            Self::Unreachable
        } else if has(&[
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "access denied",
            "access to the resource is denied",
            "denied:",
            "forbidden",
        ]) {
            Self::Unauthorized
        } else if has(&["an image does not exist locally", "no such image"]) {
            Self::NoImage
        } else if has(&[
            "name unknown",
            "repository name not known",
            "name_unknown",
            "does not exist",
            "manifest unknown",
            "not found",
        ]) {
            Self::NoRepository
        } else {
            Self::Unknown
        }
    }

    /// Whether a push would meet it, too: then it is not tried, since the engine retries for half a minute.
    #[must_use]
    pub(crate) fn is_hopeless(self) -> bool {
        matches!(
            self,
            Self::PlainHttp | Self::Certificate | Self::Unreachable
        )
    }

    pub(super) fn hint(self, registry: &str) -> Option<String> {
        Some(match self {
            Self::Unauthorized => format!("log in: `docker login {registry}`"),
            Self::PlainHttp => format!(
                "add \"{registry}\" to \"insecure-registries\" in the engine's /etc/docker/daemon.json and restart it"
            ),
            Self::Certificate => format!(
                "put the registry's CA into /etc/docker/certs.d/{registry}/ca.crt on the engine's machine"
            ),
            Self::Unreachable => {
                "check `registry:` in the environment's file and your network".to_owned()
            }
            Self::NoRepository => format!(
                "create the repository at {registry} first, or check `registry:` in the environment's file"
            ),
            Self::NoImage => "run `stackctl build`".to_owned(),
            Self::Unknown => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_off_the_engines_words() {
        for (message, failure) in [
            (
                "unauthorized: authentication required",
                PushFailure::Unauthorized,
            ),
            (
                "denied: requested access to the resource is denied",
                PushFailure::Unauthorized,
            ),
            ("no basic auth credentials", PushFailure::Unauthorized),
            (
                "Get \"https://r:5000/v2/\": http: server gave HTTP response to HTTPS client",
                PushFailure::PlainHttp,
            ),
            (
                "Get \"https://r/v2/\": x509: certificate signed by unknown authority",
                PushFailure::Certificate,
            ),
            (
                "Get \"https://r/v2/\": dial tcp: lookup r: no such host",
                PushFailure::Unreachable,
            ),
            (
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                PushFailure::Unreachable,
            ),
            (
                "name unknown: The repository with name 'a' does not exist in the registry",
                PushFailure::NoRepository,
            ),
            (
                "An image does not exist locally with the tag: a/b",
                PushFailure::NoImage,
            ),
            (
                "received unexpected HTTP status: 500 Internal Server Error",
                PushFailure::Unknown,
            ),
        ] {
            assert_eq!(PushFailure::of(message), failure, "{message}");
        }
    }
}
