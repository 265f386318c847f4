//! S3 as the object store: what is set for it, and how long it is waited for.

use std::fmt;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

/// For one request, from connecting to the last byte. A job that is accepted
/// makes two in sequence, for its variants and for its record: with the time
/// for decoding they fit into the eight seconds that shutdown has for it.
const REQUEST_LIMIT: Duration = Duration::from_millis(3500);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// No request is tried again after this.
const RETRY_LIMIT: Duration = Duration::from_secs(4);

/// Endpoint, region and keys, by the names `AWS_…` that all programs for S3
/// read. Holds secrets and shows none.
#[derive(Clone, Default)]
pub struct S3Settings(Vec<(AmazonS3ConfigKey, String)>);

/// Whether a request that failed is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retries {
    Some,
    None,
}

impl S3Settings {
    /// What the environment of this process says.
    pub fn from_env() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }
}

/// Of variables and their values; those that S3 does not know, and empty ones, are left out.
impl FromIterator<(String, String)> for S3Settings {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let known = |(name, value): (String, String)| {
            let is_set = name.starts_with("AWS_") && !value.is_empty();
            let key = is_set.then(|| name.to_ascii_lowercase().parse().ok())??;
            Some((key, value))
        };
        Self(variables.into_iter().filter_map(known).collect())
    }
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(key, _)| key))
            .finish()
    }
}

/// The folder in a bucket that `url` names. The roots that HTTPS trusts are in
/// the binary: the image it runs in holds nothing else.
pub(crate) fn bucket(
    url: &Url,
    settings: &S3Settings,
    retries: Retries,
) -> Result<impl ObjectStore, object_store::Error> {
    // Fails when it was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = ClientOptions::new()
        .with_timeout(REQUEST_LIMIT)
        .with_connect_timeout(CONNECT_LIMIT);
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        options = options.with_root_certificate(Certificate::from_der(root)?);
    }
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: if retries == Retries::Some { 5 } else { 0 },
        retry_timeout: RETRY_LIMIT,
    };
    let mut builder = AmazonS3Builder::new()
        .with_client_options(options)
        .with_retry(retry);
    for (key, value) in &settings.0 {
        builder = builder.with_config(*key, value);
    }
    let bucket = url.host_str().unwrap_or_default();
    let store = builder.with_bucket_name(bucket).build()?;
    Ok(PrefixStore::new(store, url.path().trim_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> S3Settings {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        variables.iter().map(owned).collect()
    }

    #[test]
    fn secrets_are_not_shown() {
        let all = settings(&[
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("AWS_ENDPOINT", ""),
            ("AWS_PAGER", "less"),
            ("PATH", "/bin"),
        ]);
        assert_eq!(format!("{all:?}"), "[SecretAccessKey]");
    }

    #[test]
    fn what_cannot_be_used_is_said_at_start() {
        let url: Url = "s3://images/folder".parse().unwrap();
        let open = |variables: &[(&str, &str)]| {
            bucket(&url, &settings(variables), Retries::Some).map(drop)
        };
        assert!(open(&[]).is_ok());
        assert!(open(&[("AWS_ALLOW_HTTP", "maybe")]).is_err());
    }
}
