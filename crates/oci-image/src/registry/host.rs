//! What a registry's name in a reference means: the address of its API, and how it is spoken to.

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;
use tokio::sync::OnceCell;

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
    secured: Url,
    /// Whether it is spoken to without TLS, once that is known.
    pub(super) plain: OnceCell<bool>,
    /// Whether that has to be found out.
    is_trusted: bool,
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
        let secured: Url = format!("https://{authority}/").parse().ok()?;
        let is_host = secured.path() == "/" && secured.username().is_empty();
        let is_trusted = is_trusted(&secured, options);
        // A loopback host with certificates of its own has TLS.
        let lacks_tls = is_loopback(authority) && certificates(authority, options).is_none();
        is_host.then(|| Self {
            name: name.to_owned(),
            secured,
            plain: OnceCell::new_with((!is_trusted).then_some(lacks_tls)),
            is_trusted,
            auth: Auth::default(),
        })
    }

    /// `SCHEME://HOST[:PORT]/`; with TLS as long as nothing else is known.
    pub(super) fn origin(&self) -> Url {
        self.address(self.plain.get().is_some_and(|plain| *plain))
    }

    /// The same, without TLS or with it.
    pub(super) fn address(&self, plain: bool) -> Url {
        let mut url = self.secured.clone();
        if plain {
            let port = url.port();
            url.set_scheme("http").expect("both are web addresses");
            // What is the usual port with TLS is not the usual one without.
            url.set_port(port).expect("it has a host");
        }
        url
    }

    /// The address of `path` in the API for `repository`, of which both are made of safe characters.
    pub(super) fn url(&self, repository: &str, path: &str) -> Url {
        let mut url = self.origin();
        url.set_path(&format!("/v2/{repository}/{path}"));
        url
    }

    /// `url`, made when it was not known yet that the registry has no TLS.
    pub(super) fn rebased(&self, url: &Url, home: &Url) -> Url {
        let mut url = url.clone();
        let is_own = url.host_str() == home.host_str() && url.port() == home.port();
        if self.is_trusted && is_own && home.scheme() == "http" {
            url.set_scheme("http").expect("both are web addresses");
        }
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

/// Whether the host is trusted as it is; with the port, or without where it is the usual one.
pub(super) fn is_trusted(url: &Url, options: &Options) -> bool {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let full = format!("{host}:{port}");
    let names = [authority(url), full];
    options.insecure.iter().any(|entry| names.contains(entry))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_addresses() {
        let options = Options {
            insecure: vec!["lan:5000".to_owned()],
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
            // Until it is asked.
            ("lan:5000", "lan:5000", "https://lan:5000/"),
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
            assert_eq!((host.name.as_str(), host.origin().as_str()), (name, origin));
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
    fn a_host_is_trusted_with_and_without_its_usual_port() {
        let options = Options {
            insecure: vec![
                "lan:5000".to_owned(),
                "old".to_owned(),
                "new:443".to_owned(),
            ],
            ..Options::default()
        };
        for (url, expected) in [
            ("https://lan:5000/v2/", true),
            ("http://lan:5000/token", true),
            ("https://lan/", false),
            ("https://old/", true),
            ("http://old/", true),
            ("https://old:5000/", false),
            ("https://new/", true),
            ("http://new/", false),
        ] {
            let found = is_trusted(&url.parse().unwrap(), &options);
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn an_address_follows_what_is_known() {
        let options = Options {
            insecure: vec!["lan:5000".to_owned(), "old:80".to_owned()],
            ..Options::default()
        };
        let host = Host::new("lan:5000", &options).unwrap();
        let early = host.url("a", "tags/list");
        assert_eq!(early.as_str(), "https://lan:5000/v2/a/tags/list");
        let home = host.address(true);
        let late = host.rebased(&early, &home);
        assert_eq!(late.as_str(), "http://lan:5000/v2/a/tags/list");
        let elsewhere = "https://lan:5001/v2/".parse().unwrap();
        assert_eq!(host.rebased(&elsewhere, &home), elsewhere);
        let other = Host::new("old:80", &options).unwrap();
        assert_eq!(other.address(false).as_str(), "https://old:80/");
        assert_eq!(other.address(true).as_str(), "http://old/");
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
                .origin()
                .scheme()
                .to_owned()
        };
        assert_eq!(scheme("localhost:5443"), "https");
        assert_eq!(scheme("localhost:5000"), "http");
    }
}
