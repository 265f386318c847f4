//! What a client is told once: which registries are trusted how, how long it waits, how often it tries.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::credentials::{Anonymous, Credentials};

/// Everything that [`Client::new`](super::Client::new) needs.
#[derive(Clone)]
pub struct Options {
    /// Registries (`HOST[:PORT]`) that are trusted whatever certificate they show; those without TLS are spoken to
    /// without, logins included. Loopback hosts are spoken to without TLS unless they have an entry, or certificates.
    pub insecure: Vec<String>,
    /// PEM bundles that are trusted for all hosts, beside the system's and the browsers' roots.
    pub ca_certificates: Vec<Vec<u8>>,
    /// Docker's folder of certificates: `HOST[:PORT]/*.crt`, and `*.cert` with `*.key` to show to that host.
    pub certificates_folder: Option<PathBuf>,
    /// What the registry's log calls us.
    pub user_agent: String,
    /// How long silence is borne.
    pub timeouts: Timeouts,
    /// How often a fault that may pass is met with another try.
    pub retry: Retry,
    /// Blobs on their way at the same time, over all images of the client; at least 1.
    pub concurrent_blobs: usize,
    /// Blobs up to this size, in bytes, are uploaded in one request, larger ones in chunks of this size. A registry
    /// that asks for larger chunks gets them.
    pub chunk_size: u64,
    /// Who knows the logins.
    pub credentials: Arc<dyn Credentials>,
}

/// How long silence is borne; a transfer that moves is never cut.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// Between two bytes, and until an answer starts.
    pub idle: Duration,
}

/// How faults that may pass are met: connections that fail, 408, 429, 500, 502, 503, 504.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Tries after the first one; counted anew whenever a blob moved on.
    pub times: usize,
    /// Wait before the second try; doubled for each further one, with jitter.
    pub first_delay: Duration,
    /// The longest wait that is chosen here.
    pub longest_delay: Duration,
    /// The longest wait that a registry may ask for; where it wants more, the fault is final.
    pub longest_retry_after: Duration,
    /// Time after which no further try is made; also counted anew whenever a blob moved on.
    pub total: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            ca_certificates: Vec::new(),
            certificates_folder: Some(PathBuf::from("/etc/docker/certs.d")),
            user_agent: concat!("stackctl/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            concurrent_blobs: 4,
            chunk_size: 32 * 1024 * 1024,
            credentials: Arc::new(Anonymous),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            // A registry in front of an object store copies a large blob before it answers the last request.
            idle: Duration::from_secs(120),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            times: 5,
            first_delay: Duration::from_millis(300),
            longest_delay: Duration::from_secs(10),
            longest_retry_after: Duration::from_secs(60),
            total: Duration::from_secs(180),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("insecure", &self.insecure)
            .field("certificates_folder", &self.certificates_folder)
            .field("timeouts", &self.timeouts)
            .field("retry", &self.retry)
            .field("concurrent_blobs", &self.concurrent_blobs)
            .field("chunk_size", &self.chunk_size)
            .finish_non_exhaustive()
    }
}
