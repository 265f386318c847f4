//! The client: what all its clones share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;
use tokio::sync::Semaphore;

use super::error::{Action, ErrorKind, RegistryError};
use super::host::{self, Host};
use super::options::Options;
use super::progress::{Observer, Unobserved};
use super::tls::{self, CertificatesError, Peer};
use crate::{Digest, Reference};

/// Pulls from registries and pushes to them.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    pub(super) observer: Arc<dyn Observer>,
}

struct Shared {
    options: Options,
    hosts: Mutex<BTreeMap<String, Arc<Host>>>,
    /// By what tells them apart: the host's own certificates, or whether it is this machine; and whether the host is
    /// trusted as it is.
    http: Mutex<BTreeMap<(String, bool), reqwest::Client>>,
    /// Limits blobs on their way.
    blobs: Arc<Semaphore>,
    /// By registry and digest.
    known: Mutex<BTreeMap<(String, Digest), Whereabouts>>,
    /// Lists of referrers are read, changed and written by one at a time.
    pub(super) referring: tokio::sync::Mutex<()>,
}

/// The repositories that have a blob. Who holds the lock is putting it into one of them.
pub(super) type Whereabouts = Arc<tokio::sync::Mutex<BTreeSet<String>>>;

/// The repository that something is done in.
#[derive(Clone)]
pub(super) struct Repository {
    pub(super) host: Arc<Host>,
    pub(super) name: String,
}

impl Client {
    /// A client that knows no registry yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let blobs = Arc::new(Semaphore::new(options.concurrent_blobs.max(1)));
        Self {
            shared: Arc::new(Shared {
                options,
                hosts: Mutex::default(),
                http: Mutex::default(),
                blobs,
                known: Mutex::default(),
                referring: tokio::sync::Mutex::default(),
            }),
            observer: Arc::new(Unobserved),
        }
    }

    /// The same client; what it moves is told to `observer`.
    #[must_use]
    pub fn observed(&self, observer: Arc<dyn Observer>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            observer,
        }
    }

    pub(super) fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(super) fn blobs(&self) -> &Semaphore {
        &self.shared.blobs
    }

    pub(super) fn blobs_owned(&self) -> Arc<Semaphore> {
        Arc::clone(&self.shared.blobs)
    }

    pub(super) fn referring(&self) -> &tokio::sync::Mutex<()> {
        &self.shared.referring
    }

    /// Which repositories of the registry have the blob, as far as this client has seen.
    pub(super) fn whereabouts(&self, repository: &Repository, digest: Digest) -> Whereabouts {
        let mut known = lock(&self.shared.known);
        let key = (repository.host.name.clone(), digest);
        Arc::clone(known.entry(key).or_default())
    }

    /// The repository that `reference` is in.
    pub(super) fn repository(
        &self,
        reference: &Reference,
        action: &Action,
    ) -> Result<Repository, RegistryError> {
        let host = self.host(reference.registry()).ok_or_else(|| {
            let name = host::canonical(reference.registry());
            let kind = ErrorKind::Protocol(format!("`{name}` is no host"));
            RegistryError::new(name, reference.repository(), action, kind)
        })?;
        Ok(Repository {
            host,
            name: reference.repository().to_owned(),
        })
    }

    /// What is known of a registry; `None` where that is no host.
    pub(super) fn host(&self, registry: &str) -> Option<Arc<Host>> {
        let key = host::canonical(registry);
        let mut hosts = lock(&self.shared.hosts);
        if let Some(host) = hosts.get(key) {
            return Some(Arc::clone(host));
        }
        let host = Arc::new(Host::new(key, &self.shared.options)?);
        hosts.insert(key.to_owned(), Arc::clone(&host));
        Some(host)
    }

    /// The HTTP client that speaks to the host of `url`.
    pub(super) fn http(&self, url: &Url) -> Result<reqwest::Client, CertificatesError> {
        let options = &self.shared.options;
        let authority = host::authority(url);
        let certificates = host::certificates(&authority, options);
        let is_loopback = host::is_loopback(&authority);
        let is_trusted = host::is_trusted(url, options);
        let key = match (&certificates, is_loopback) {
            (Some(_), _) => authority.as_str(),
            (None, true) => "localhost",
            (None, false) => "",
        };
        let key = (key.to_owned(), is_trusted);
        let mut clients = lock(&self.shared.http);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let peer = Peer {
            certificates: certificates.as_deref(),
            is_loopback,
            is_trusted,
        };
        let client = tls::http_client(options, &peer)?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

impl Repository {
    pub(super) fn error(&self, action: &Action, kind: ErrorKind) -> RegistryError {
        RegistryError::new(&self.host.name, &self.name, action, kind)
    }
}

/// What is behind the lock is whole after every statement.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
