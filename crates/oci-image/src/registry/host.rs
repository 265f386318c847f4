//! What a registry's name in a reference means: the address of its API, and how it is spoken to.

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;

use super::auth::Auth;
use super::options::Options;

/// Docker Hub, as references and logins call it, and where its API is.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// A registry, and what was learned about it.
pub(super) struct Host {
    /// As in references.
    pub(super) name: String,
    /// `https://HOST[:PORT]/`.
    pub(super) origin: Url,
    /// How it wants to be logged in to.
    pub(super) auth: Auth,
}

impl Host {
    /// `None` where `registry` is no host.
    pub(super) fn new(registry: &str, options: &Options) -> Option<Self> {
        let name = canonical(registry);
        let authority = match name {
            DOCKER_HUB => DOCKER_HUB_API,
            name => name,
        };
        let scheme = if speaks_plain_http(authority, options) {
            "http"
        } else {
            "https"
        };
        let origin: Url = format!("{scheme}://{authority}/").parse().ok()?;
        (origin.path() == "/" && origin.username().is_empty()).then(|| Self {
            name: name.to_owned(),
            origin,
            auth: Auth::default(),
        })
    }

    /// The address of `path` in the API for `repository`, of which both are made of safe characters.
    pub(super) fn url(&self, repository: &str, path: &str) -> Url {
        let mut url = self.origin.clone();
        url.set_path(&format!("/v2/{repository}/{path}"));
        url
    }
}

/// One name for each registry.
pub(super) fn canonical(registry: &str) -> &str {
    match registry {
        "index.docker.io" | DOCKER_HUB_API => DOCKER_HUB,
        name => name,
    }
}

/// Whether logins may go there: over TLS, to this machine, or to hosts that are said to have no TLS.
pub(super) fn is_confidential(url: &Url, options: &Options) -> bool {
    let authority = authority(url);
    url.scheme() == "https" || is_loopback(&authority) || options.plain_http.contains(&authority)
}

/// `HOST[:PORT]` of an address; the port where it is not the usual one.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether it is this machine: 127.0.0.0/8, ::1, localhost.
pub(super) fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// The folder of certificates that a host has of its own.
pub(super) fn certificates(authority: &str, options: &Options) -> Option<PathBuf> {
    let folder = options.certificates_folder.as_ref()?.join(authority);
    folder.is_dir().then_some(folder)
}

/// A loopback host with certificates of its own has TLS.
fn speaks_plain_http(authority: &str, options: &Options) -> bool {
    options.plain_http.iter().any(|host| host == authority)
        || (is_loopback(authority) && certificates(authority, options).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_addresses() {
        let options = Options {
            plain_http: vec!["lan:5000".to_owned()],
            certificates_folder: None,
            ..Options::default()
        };
        for (registry, name, origin) in [
            ("docker.io", "docker.io", "https://registry-1.docker.io/"),
            (
                "index.docker.io",
                "docker.io",
                "https://registry-1.docker.io/",
            ),
            ("ghcr.io", "ghcr.io", "https://ghcr.io/"),
            ("r.io:8443", "r.io:8443", "https://r.io:8443/"),
            ("lan:5000", "lan:5000", "http://lan:5000/"),
            ("lan:5001", "lan:5001", "https://lan:5001/"),
            ("localhost", "localhost", "http://localhost/"),
            ("localhost:5000", "localhost:5000", "http://localhost:5000/"),
            ("127.1.2.3:5000", "127.1.2.3:5000", "http://127.1.2.3:5000/"),
            ("[::1]:5000", "[::1]:5000", "http://[::1]:5000/"),
            (
                "128.0.0.1:5000",
                "128.0.0.1:5000",
                "https://128.0.0.1:5000/",
            ),
            ("localhost.io", "localhost.io", "https://localhost.io/"),
        ] {
            let host = Host::new(registry, &options).unwrap();
            assert_eq!((host.name.as_str(), host.origin.as_str()), (name, origin));
        }
        for registry in ["", "a b", "r.io:port", "jo@r.io", "r.io/x", "[::1"] {
            assert!(Host::new(registry, &options).is_none(), "{registry}");
        }
        let host = Host::new("r.io", &options).unwrap();
        assert_eq!(
            host.url("team/a", "blobs/uploads/").as_str(),
            "https://r.io/v2/team/a/blobs/uploads/"
        );
    }

    #[test]
    fn logins_go_where_nobody_listens() {
        let options = Options {
            plain_http: vec!["lan:5000".to_owned()],
            ..Options::default()
        };
        for (url, expected) in [
            ("https://r.io/token", true),
            ("http://r.io/token", false),
            ("http://lan:5000/token", true),
            ("http://lan/token", false),
            ("http://127.0.0.1:1/token", true),
            ("http://[::1]/token", true),
            ("http://localhost/token", true),
            ("http://127.0.0.1.r.io/token", false),
        ] {
            assert_eq!(
                is_confidential(&url.parse().unwrap(), &options),
                expected,
                "{url}"
            );
        }
    }

    #[test]
    fn a_folder_of_certificates_means_tls() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("localhost:5443")).unwrap();
        let options = Options {
            certificates_folder: Some(folder.path().to_owned()),
            ..Options::default()
        };
        let scheme = |registry| {
            Host::new(registry, &options)
                .unwrap()
                .origin
                .scheme()
                .to_owned()
        };
        assert_eq!(scheme("localhost:5443"), "https");
        assert_eq!(scheme("localhost:5000"), "http");
    }
}
