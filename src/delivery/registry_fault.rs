//! What a registry's refusal means to its user, and what to do about it. Pure.

use std::error::Error;
use std::time::Duration;

use oci_image::registry::{Action, ErrorKind, RegistryError};

use crate::diagnostic::{Code, Diagnostic};

/// No login, or not the right one.
const NOT_LOGGED_IN: Code = Code::new("S0521");
/// The login may not do this.
const DENIED: Code = Code::new("S0522");
/// The registry makes no repositories by itself.
const NO_REPOSITORY: Code = Code::new("S0523");
/// Too many requests.
const RATE_LIMITED: Code = Code::new("S0524");
/// It speaks plain http.
const PLAIN_HTTP: Code = Code::new("S0525");
/// Its certificate is not trusted.
const CERTIFICATE: Code = Code::new("S0526");
/// Nobody answers.
const UNREACHABLE: Code = Code::new("S0527");
/// What it has is not what its digest says.
const WRONG_DIGEST: Code = Code::new("S0528");
/// It is in trouble.
const TROUBLE: Code = Code::new("S0529");
/// It takes nothing as large.
const TOO_LARGE: Code = Code::new("S0530");
/// Its answer makes no sense.
const PROTOCOL: Code = Code::new("S0531");
/// The image cannot be read, or a login not be looked up.
const HERE: Code = Code::new("S0532");

/// `message` with the registry's words and what helps.
pub(super) fn explain(message: &str, error: &RegistryError) -> Diagnostic {
    let host = error.host();
    let Meaning { code, hints } = meaning(&Fault {
        kind: error.kind(),
        host,
        repository: error.repository(),
        writes: matches!(
            error.action(),
            Action::WriteBlob(_) | Action::WriteManifest(_)
        ),
        speaks_http: speaks_http(error),
    });
    let diagnostic = Diagnostic::error(code, message).caused_by(error);
    hints.into_iter().fold(diagnostic, Diagnostic::hint)
}

struct Fault<'a> {
    kind: &'a ErrorKind,
    host: &'a str,
    repository: &'a str,
    writes: bool,
    speaks_http: bool,
}

struct Meaning {
    code: Code,
    hints: Vec<String>,
}

fn meaning(fault: &Fault<'_>) -> Meaning {
    let Fault {
        host, repository, ..
    } = fault;
    let (code, hint) = match fault.kind {
        _ if fault.speaks_http => (
            PLAIN_HTTP,
            Some(format!(
                "{host} speaks plain http: add \"{host}\" to \"insecure-registries\" in /etc/docker/daemon.json if you trust the network up to it"
            )),
        ),
        ErrorKind::Unauthorized => (NOT_LOGGED_IN, Some(format!("log in: `docker login {host}`"))),
        ErrorKind::Denied => (
            DENIED,
            Some(format!(
                "the login for {host} may not push to {repository}: ask for the right to, or `docker login {host}` as somebody who may"
            )),
        ),
        ErrorKind::NotFound if fault.writes => (NO_REPOSITORY, Some(create(host, repository))),
        ErrorKind::NotFound => (
            NO_REPOSITORY,
            Some("check `registry:` in the environment's file".to_owned()),
        ),
        ErrorKind::RateLimited { retry_after } => (RATE_LIMITED, Some(come_back(*retry_after))),
        ErrorKind::Unavailable { retry_after, .. } => (TROUBLE, Some(come_back(*retry_after))),
        ErrorKind::Unreachable => (
            UNREACHABLE,
            Some("check `registry:` in the environment's file and your network".to_owned()),
        ),
        ErrorKind::Tls => (
            CERTIFICATE,
            Some(format!(
                "put the registry's CA into /etc/docker/certs.d/{host}/ca.crt"
            )),
        ),
        ErrorKind::Digest { .. } => (
            WRONG_DIGEST,
            Some("nothing that came was used; if it happens again, the registry's storage or a proxy before it is broken".to_owned()),
        ),
        ErrorKind::TooLarge => (
            TOO_LARGE,
            Some(format!(
                "raise the limit of {host} or of the proxy before it, such as client_max_body_size of nginx"
            )),
        ),
        ErrorKind::Credentials | ErrorKind::Local => (HERE, None),
        _ => (PROTOCOL, None),
    };
    Meaning {
        code,
        hints: hint.into_iter().collect(),
    }
}

/// Some registries make repositories on the first push, others want them to exist.
fn create(host: &str, repository: &str) -> String {
    if host.contains(".dkr.ecr.") {
        return format!(
            "create it first: `aws ecr create-repository --repository-name {repository}`"
        );
    }
    format!(
        "create the repository {repository} at {host} first, or check `registry:` in the environment's file"
    )
}

fn come_back(after: Option<Duration>) -> String {
    match after {
        Some(wait) => format!(
            "try again in {} s; what was sent until now is kept",
            wait.as_secs().max(1)
        ),
        None => "try again later; what was sent until now is kept".to_owned(),
    }
}

/// rustls meets an answer in plain text where it expects a handshake.
fn speaks_http(error: &RegistryError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if error.to_string().contains("InvalidContentType") {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use oci_image::Digest;

    use super::*;

    const ECR: &str = "1.dkr.ecr.eu-west-1.amazonaws.com";

    fn found(kind: &ErrorKind, host: &str, writes: bool, speaks_http: bool) -> (Code, String) {
        let meaning = meaning(&Fault {
            kind,
            host,
            repository: "team/a",
            writes,
            speaks_http,
        });
        (meaning.code, meaning.hints.concat())
    }

    #[test]
    fn every_fault_says_what_to_do() {
        let minute = Some(Duration::from_secs(60));
        let digest = ErrorKind::Digest {
            expected: Digest::of(b"a"),
            actual: Digest::of(b"b").to_string(),
        };
        let host = "r.example.com";
        for (kind, host, writes, code, part) in [
            (
                ErrorKind::Unauthorized,
                host,
                true,
                NOT_LOGGED_IN,
                "`docker login r.example.com`",
            ),
            (
                ErrorKind::Denied,
                host,
                true,
                DENIED,
                "may not push to team/a",
            ),
            (
                ErrorKind::NotFound,
                host,
                true,
                NO_REPOSITORY,
                "create the repository team/a at r.example.com",
            ),
            (
                ErrorKind::NotFound,
                ECR,
                true,
                NO_REPOSITORY,
                "`aws ecr create-repository --repository-name team/a`",
            ),
            (
                ErrorKind::NotFound,
                host,
                false,
                NO_REPOSITORY,
                "check `registry:`",
            ),
            (
                ErrorKind::RateLimited {
                    retry_after: minute,
                },
                host,
                true,
                RATE_LIMITED,
                "try again in 60 s",
            ),
            (
                ErrorKind::RateLimited { retry_after: None },
                host,
                true,
                RATE_LIMITED,
                "try again later",
            ),
            (
                ErrorKind::Unavailable {
                    status: 503,
                    retry_after: minute,
                },
                host,
                true,
                TROUBLE,
                "try again in 60 s",
            ),
            (
                ErrorKind::Unreachable,
                host,
                false,
                UNREACHABLE,
                "your network",
            ),
            (
                ErrorKind::Tls,
                host,
                false,
                CERTIFICATE,
                "certs.d/r.example.com/ca.crt",
            ),
            (
                digest,
                host,
                true,
                WRONG_DIGEST,
                "nothing that came was used",
            ),
            (
                ErrorKind::TooLarge,
                host,
                true,
                TOO_LARGE,
                "client_max_body_size",
            ),
            (
                ErrorKind::Protocol("what?".into()),
                host,
                true,
                PROTOCOL,
                "",
            ),
        ] {
            let (found, hint) = found(&kind, host, writes, false);
            assert_eq!(found, code, "{kind}");
            assert!(hint.contains(part), "{kind}: {hint}");
        }
        let (code, hint) = found(&ErrorKind::Tls, host, false, true);
        assert_eq!(code, PLAIN_HTTP);
        assert!(hint.contains("insecure-registries"));
    }
}
