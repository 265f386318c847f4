//! S3 as the object store: what is set for it, and how long it is waited for.

use std::fmt;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use service_kit::config::text;
use service_kit::{Reader, Unusable, Variable};
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

/// What a variable must look like.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Secret,
    Switch,
    Address,
    Encryption,
}

const KEY_ID_NAME: &str = "AWS_ACCESS_KEY_ID";
const KEY_ID: Variable<String> = Variable::new(KEY_ID_NAME, "the id of a key", text);
const SECRET_NAME: &str = "AWS_SECRET_ACCESS_KEY";
const SECRET: Variable<String> = Variable::secret(SECRET_NAME, "the secret of a key", text);
/// Besides the key. Of two that mean the same the later one counts.
const VARIABLES: [(&str, Kind); 21] = [
    ("AWS_SESSION_TOKEN", Kind::Secret),
    ("AWS_DEFAULT_REGION", Kind::Text),
    ("AWS_REGION", Kind::Text),
    ("AWS_ENDPOINT", Kind::Address),
    ("AWS_ENDPOINT_URL", Kind::Address),
    ("AWS_ENDPOINT_URL_S3", Kind::Address),
    ("AWS_ENDPOINT_URL_STS", Kind::Address),
    ("AWS_ALLOW_HTTP", Kind::Switch),
    ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", Kind::Switch),
    ("AWS_UNSIGNED_PAYLOAD", Kind::Switch),
    ("AWS_SERVER_SIDE_ENCRYPTION", Kind::Encryption),
    ("AWS_SSE_KMS_KEY_ID", Kind::Text),
    ("AWS_SSE_BUCKET_KEY_ENABLED", Kind::Switch),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", Kind::Text),
    ("AWS_ROLE_ARN", Kind::Text),
    ("AWS_ROLE_SESSION_NAME", Kind::Text),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", Kind::Text),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", Kind::Text),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", Kind::Text),
    ("AWS_METADATA_ENDPOINT", Kind::Address),
    ("AWS_IMDSV1_FALLBACK", Kind::Switch),
];

/// Whether a request that failed is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retries {
    Some,
    None,
}

impl S3Settings {
    /// Reads them.
    ///
    /// # Errors
    /// When one is unusable, or one half of a key is missing.
    pub fn read(env: &mut Reader<'_>) -> Result<Self, Unusable> {
        let keys = read_keys(env);
        let others = VARIABLES.map(|(name, kind)| (name, env.optional(&kind.variable(name))));
        let (id, secret) = keys?;
        let mut settings = Self::default();
        settings.set(KEY_ID_NAME, id);
        settings.set(SECRET_NAME, secret);
        for (name, value) in others {
            settings.set(name, value?);
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: Option<String>) {
        let key: Result<AmazonS3ConfigKey, _> = name.to_ascii_lowercase().parse();
        let key = key.expect("a variable that the library knows");
        self.0.extend(value.map(|value| (key, value)));
    }
}

/// Both halves of a key, or none where the library is to find another way.
fn read_keys(env: &mut Reader<'_>) -> Result<(Option<String>, Option<String>), Unusable> {
    let (id, secret) = (env.optional(&KEY_ID), env.optional(&SECRET));
    match (id?, secret?) {
        (Some(id), None) => Ok((Some(id), Some(env.required(&SECRET)?))),
        (None, Some(secret)) => Ok((Some(env.required(&KEY_ID)?), Some(secret))),
        both => Ok(both),
    }
}

impl Kind {
    fn variable(self, name: &'static str) -> Variable<String> {
        match self {
            Self::Text => Variable::new(name, "text", text),
            Self::Secret => Variable::secret(name, "a secret", text),
            Self::Switch => Variable::new(name, "true or false", |text| {
                matches!(text, "true" | "false").then(|| text.to_owned())
            }),
            Self::Encryption => Variable::new(name, "AES256, aws:kms or aws:kms:dsse", |text| {
                matches!(text, "AES256" | "aws:kms" | "aws:kms:dsse").then(|| text.to_owned())
            }),
            // Not shown before it is known that there is no password in it.
            Self::Address => {
                Variable::secret(name, "a URL of http or https, without a user", address)
            }
        }
    }
}

/// Where requests are sent: it is shown in errors, so it may hold no password.
fn address(text: &str) -> Option<String> {
    let url: Url = text.parse().ok()?;
    let is_usable = ["http", "https"].contains(&url.scheme())
        && url.username().is_empty()
        && url.password().is_none();
    is_usable.then(|| text.to_owned())
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
    use std::ffi::OsString;

    use service_kit::config::read;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<S3Settings, String> {
        let lookup = |name: &str| {
            let mut all = variables.iter();
            let found = all.find(|(found, _)| *found == name);
            found.map(|(_, value)| OsString::from(value))
        };
        read(&lookup, S3Settings::read).map_err(|error| error.to_string())
    }

    #[test]
    fn secrets_are_not_shown() {
        let all = settings(&[
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("AWS_ENDPOINT", ""),
            ("AWS_PAGER", "less"),
            ("PATH", "/bin"),
        ]);
        assert_eq!(
            format!("{:?}", all.unwrap()),
            "[AccessKeyId, SecretAccessKey]"
        );
    }

    #[test]
    fn every_variable_is_known_to_the_library() {
        let all = VARIABLES.map(|(name, kind)| match kind {
            Kind::Text | Kind::Secret => (name, "x"),
            Kind::Switch => (name, "true"),
            Kind::Address => (name, "http://127.0.0.1:9000"),
            Kind::Encryption => (name, "aws:kms"),
        });
        let settings = settings(&all).unwrap();
        assert_eq!(settings.0.len(), VARIABLES.len());
        let url: Url = "s3://images/folder".parse().unwrap();
        assert!(bucket(&url, &settings, Retries::Some).is_ok());
    }

    #[test]
    fn faults_are_said_all_at_once() {
        let said = settings(&[
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("AWS_ALLOW_HTTP", "maybe"),
            ("AWS_ENDPOINT", "127.0.0.1"),
            ("AWS_ENDPOINT_URL_S3", "https://key:hunter2@s3.example.org"),
        ])
        .unwrap_err();
        for fault in [
            "4 environment variables",
            "AWS_SECRET_ACCESS_KEY: not set",
            "AWS_ALLOW_HTTP: found `maybe`",
            "AWS_ENDPOINT: ",
            "AWS_ENDPOINT_URL_S3: ",
        ] {
            assert!(said.contains(fault), "{fault}: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
        let said = settings(&[("AWS_SECRET_ACCESS_KEY", "hunter2")]).unwrap_err();
        assert!(said.contains("AWS_ACCESS_KEY_ID: not set"), "{said}");
    }

    /// A web identity, or the role of a container or of a machine.
    #[test]
    fn keys_are_not_needed() {
        assert!(settings(&[]).is_ok());
    }
}
