//! Whether a registry that is trusted as it is has TLS: it is asked with TLS first, as Docker does.

use reqwest::Url;

use super::client::Client;
use super::host::{self, Host};
use super::transport::tls_error;

/// Nobody answered: nothing is known.
struct Away;

impl Client {
    /// The address of a registry as it is spoken to.
    pub(super) async fn home(&self, host: &Host) -> Url {
        let known = host.plain.get_or_try_init(|| self.lacks_tls(host)).await;
        // What does not answer may do so without TLS, which has a port of its own.
        host.address(known.ok().is_none_or(|plain| *plain))
    }

    /// Whether logins may go there: over TLS, to this machine, or to hosts that are trusted and have no TLS.
    pub(super) async fn is_confidential(&self, url: &Url) -> bool {
        if url.scheme() == "https" {
            return true;
        }
        if host::is_trusted(url, self.options()) {
            return match self.host(&host::authority(url)) {
                Some(host) => self.home(&host).await.scheme() == "http",
                None => false,
            };
        }
        host::is_loopback(&host::authority(url))
    }

    async fn lacks_tls(&self, host: &Host) -> Result<bool, Away> {
        let mut url = host.address(false);
        url.set_path("/v2/");
        let Ok(http) = self.http(&url) else {
            // The request says what is wrong with the certificates.
            return Ok(false);
        };
        let idle = self.options().timeouts.idle;
        match tokio::time::timeout(idle, http.get(url).send()).await {
            Ok(Err(error)) => match tls_error(&error) {
                Some(rustls::Error::InvalidMessage(_)) => Ok(true),
                None if error.is_connect() => Err(Away),
                // It speaks TLS, whatever it says.
                _ => Ok(false),
            },
            _ => Ok(false),
        }
    }
}
