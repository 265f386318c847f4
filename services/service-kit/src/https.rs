//! An HTTPS client for images that hold nothing but a binary.

use std::time::Duration;

use reqwest::{Certificate, Client};

/// A client that trusts the public roots, which are in the binary, and no others. A request has `limit` from connecting
/// to the last byte of its answer. Where a redirect leads is not told the URL that led there: it may hold a token.
///
/// # Errors
/// When a root cannot be read.
pub fn client(user_agent: &str, limit: Duration) -> Result<Client, reqwest::Error> {
    // Fails when it was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots: Result<Vec<Certificate>, _> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|der| Certificate::from_der(der))
        .collect();
    Client::builder()
        .tls_certs_only(roots?)
        .timeout(limit)
        .referer(false)
        .user_agent(user_agent)
        .build()
}
