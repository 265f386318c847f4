//! What the Docker command line is configured to use: contexts and logins.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use super::tls::EngineTls;

/// The name under which Docker keeps the login of its default registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// A credential helper may ask a keyring, but not wait for a human.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);

/// `~/.docker`, or `$DOCKER_CONFIG`.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    folder: PathBuf,
    file: ConfigFile,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    current_context: Option<String>,
    auths: HashMap<String, Auth>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    identitytoken: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(…)")
    }
}

/// The engine that a context leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// Such as `tcp://build-server:2376`.
    pub host: String,
    /// With TLS: what `docker context create` was given.
    pub tls: Option<EngineTls>,
}

/// Why Docker's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DockerConfigError {
    /// The file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what Docker writes.
    #[error("failed to understand `{}`", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A credential helper could not be started or did not answer.
    #[error("failed to ask the credential helper `{helper}`")]
    Helper {
        /// The program.
        helper: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A credential helper refused.
    #[error("the credential helper `{helper}` failed: {message}")]
    HelperFailed {
        /// The program.
        helper: String,
        /// What it said.
        message: String,
    },
    /// A login is damaged.
    #[error("the login for `{registry}` in `{}` is damaged", path.display())]
    Login {
        /// Whose.
        registry: String,
        /// The file.
        path: PathBuf,
    },
}

impl DockerConfig {
    /// The configuration of this user.
    pub fn load() -> Result<Self, DockerConfigError> {
        let folder = env::var_os("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(env::home_dir()?.join(".docker")))
            .unwrap_or_default();
        Self::read(&folder)
    }

    /// The configuration in `folder`; a missing file is an empty one.
    pub fn read(folder: &Path) -> Result<Self, DockerConfigError> {
        Ok(Self {
            file: read_json(&folder.join("config.json"))?.unwrap_or_default(),
            folder: folder.to_owned(),
        })
    }

    /// The context that `docker context use` chose; `None` for the default one.
    #[must_use]
    pub fn current_context(&self) -> Option<&str> {
        self.file
            .current_context
            .as_deref()
            .filter(|name| !name.is_empty() && *name != "default")
    }

    /// The folder it was read from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The engine of a context; `None` if there is no such context.
    pub(crate) fn context(&self, name: &str) -> Result<Option<Context>, DockerConfigError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Meta {
            endpoints: HashMap<String, Endpoint>,
        }
        #[derive(Deserialize)]
        struct Endpoint {
            #[serde(rename = "Host")]
            host: String,
            #[serde(rename = "SkipTLSVerify", default)]
            skip_verification: bool,
        }
        let id = oci_image::Digest::of(name.as_bytes()).hex();
        let contexts = self.folder.join("contexts");
        let meta: Option<Meta> = read_json(&contexts.join("meta").join(&id).join("meta.json"))?;
        let Some(endpoint) = meta.and_then(|mut meta| meta.endpoints.remove("docker")) else {
            return Ok(None);
        };
        let certificates = contexts.join("tls").join(id).join("docker");
        let certificates = certificates.is_dir().then_some(certificates);
        let secured = certificates.is_some() || endpoint.skip_verification;
        Ok(Some(Context {
            host: endpoint.host,
            tls: secured.then_some(EngineTls {
                folder: certificates,
                verify: !endpoint.skip_verification,
            }),
        }))
    }

    /// The login for a registry, from a credential helper or the file.
    pub async fn credentials(
        &self,
        registry: &str,
    ) -> Result<Option<DockerCredentials>, DockerConfigError> {
        let key = if registry == "docker.io" {
            DOCKER_HUB
        } else {
            registry
        };
        let helper = self
            .file
            .cred_helpers
            .get(key)
            .or(self.file.creds_store.as_ref());
        if let Some(helper) = helper
            && let Some(found) = ask_helper(&format!("docker-credential-{helper}"), key).await?
        {
            return Ok(Some(found));
        }
        let login = self
            .file
            .auths
            .iter()
            .find(|(name, _)| *name == key || host_of(name) == host_of(key));
        match login {
            Some((_, auth)) if !auth.auth.is_empty() || !auth.identitytoken.is_empty() => {
                self.decode(key, auth).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn decode(&self, registry: &str, auth: &Auth) -> Result<DockerCredentials, DockerConfigError> {
        let damaged = || DockerConfigError::Login {
            registry: registry.to_owned(),
            path: self.folder.join("config.json"),
        };
        let bytes = STANDARD.decode(&auth.auth).map_err(|_| damaged())?;
        let text = String::from_utf8(bytes).map_err(|_| damaged())?;
        let (user, password) = text.split_once(':').unwrap_or((&text, ""));
        Ok(DockerCredentials {
            username: Some(user.to_owned()),
            password: Some(password.trim_end_matches('\0').to_owned()),
            serveraddress: Some(registry.to_owned()),
            identitytoken: (!auth.identitytoken.is_empty()).then(|| auth.identitytoken.clone()),
            ..DockerCredentials::default()
        })
    }
}

/// The registry of an image reference, as Docker reads it: `docker.io` where none is written.
#[must_use]
pub fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

fn host_of(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    key.split('/').next().unwrap_or(key)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, DockerConfigError> {
    let text = match fs::read(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        text => text.map_err(|source| DockerConfigError::Read {
            path: path.to_owned(),
            source,
        })?,
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| DockerConfigError::Parse {
            path: path.to_owned(),
            source,
        })
}

/// `None` if the helper knows no login; that it says with an error, too.
async fn ask_helper(
    helper: &str,
    registry: &str,
) -> Result<Option<DockerCredentials>, DockerConfigError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let failed = |source| DockerConfigError::Helper {
        helper: helper.to_owned(),
        source,
    };
    let answer = tokio::time::timeout(HELPER_TIMEOUT, run_helper(helper, registry))
        .await
        .map_err(|_| {
            failed(io::Error::new(
                io::ErrorKind::TimedOut,
                "no answer in 30 seconds",
            ))
        })?
        .map_err(failed)?;
    if !answer.status.success() {
        let message = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        if message.contains("credentials not found") {
            return Ok(None);
        }
        return Err(DockerConfigError::HelperFailed {
            helper: helper.to_owned(),
            message,
        });
    }
    let answer: Answer =
        serde_json::from_slice(&answer.stdout).map_err(|error| failed(error.into()))?;
    let is_token = answer.username == "<token>";
    Ok(Some(DockerCredentials {
        identitytoken: is_token.then(|| answer.secret.clone()),
        username: (!is_token).then_some(answer.username),
        password: (!is_token).then_some(answer.secret),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    }))
}

async fn run_helper(helper: &str, registry: &str) -> io::Result<std::process::Output> {
    let mut child = tokio::process::Command::new(helper)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(registry.as_bytes()).await?;
    }
    child.wait_with_output().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> (tempfile::TempDir, DockerConfig) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), json).unwrap();
        let config = DockerConfig::read(folder.path()).unwrap();
        (folder, config)
    }

    #[test]
    fn registries_are_read_off_references() {
        for (reference, registry) in [
            ("redis", "docker.io"),
            ("library/redis:7", "docker.io"),
            ("localhost/a", "localhost"),
            ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000"),
            ("registry.example.com/seedling/a:1", "registry.example.com"),
        ] {
            assert_eq!(registry_of(reference), registry, "{reference}");
        }
    }

    #[tokio::test]
    async fn logins_come_from_the_file() {
        // `printf jo:pa:ss | base64`, `printf hub:x | base64`
        let (_folder, config) = config(
            r#"{"auths": {"https://r.example.com/v1/": {"auth": "am86cGE6c3M="},
                "https://index.docker.io/v1/": {"auth": "aHViOng="}, "empty.example.com": {}},
                "currentContext": "work"}"#,
        );
        let login = config.credentials("r.example.com").await.unwrap().unwrap();
        assert_eq!(
            (login.username.as_deref(), login.password.as_deref()),
            (Some("jo"), Some("pa:ss"))
        );
        let hub = config.credentials("docker.io").await.unwrap().unwrap();
        assert_eq!(hub.username.as_deref(), Some("hub"));
        for none in ["other.example.com", "empty.example.com"] {
            assert!(config.credentials(none).await.unwrap().is_none(), "{none}");
        }
        assert_eq!(config.current_context(), Some("work"));
        assert!(
            !format!("{config:?}").contains("am86"),
            "logins are not printed"
        );
    }

    /// The user of the login for a place.
    async fn user(config: &DockerConfig, place: &str) -> Option<String> {
        config.credentials(place).await.unwrap()?.username
    }

    #[tokio::test]
    async fn the_nearest_login_is_taken() {
        let keys = [
            "ghcr.io",
            "ghcr.io/team",
            "ghcr.io/team/inner",
            "https://ghcr.io/v2/",
            "https://plain.example.com/v1/",
            "plain.example.com/other",
            "only.example.com/team",
            "docker.io/library",
            "https://index.docker.io/v1/",
        ];
        let auths: serde_json::Map<String, serde_json::Value> = keys
            .iter()
            .map(|key| {
                let auth = STANDARD.encode(format!("{key}:x"));
                ((*key).to_owned(), serde_json::json!({ "auth": auth }))
            })
            .collect();
        let text = serde_json::json!({ "auths": auths }).to_string();
        // The order of a map differs with each one.
        for _ in 0..20 {
            let (_folder, config) = config(&text);
            for (place, expected) in [
                ("ghcr.io", Some("ghcr.io")),
                ("ghcr.io/team", Some("ghcr.io/team")),
                ("ghcr.io/team/app", Some("ghcr.io/team")),
                ("ghcr.io/team/inner/app", Some("ghcr.io/team/inner")),
                ("ghcr.io/team/innermost", Some("ghcr.io/team")),
                ("ghcr.io/teams/app", Some("ghcr.io")),
                ("ghcr.io/other-team/app", Some("ghcr.io")),
                ("plain.example.com/team/app", Some("https")),
                ("plain.example.com", Some("https")),
                ("only.example.com", None),
                ("only.example.com/other-team/app", None),
                ("only.example.com/team/app", Some("only.example.com/team")),
                ("docker.io/library/redis", Some("docker.io/library")),
                ("docker.io/jo/redis", Some("https")),
                ("docker.io", Some("https")),
            ] {
                let found = user(&config, place).await;
                assert_eq!(found.as_deref(), expected, "{place}");
            }
        }
    }

    #[test]
    fn contexts_are_found_by_the_digest_of_their_name() {
        let (folder, config) = config("{}");
        // `printf work | sha256sum`
        let id = "00e13ed7af55b27622f1d6eab5bec0147e68efe28dc2b12461117afa1a5ed40e";
        let meta = folder.path().join("contexts/meta").join(id);
        fs::create_dir_all(&meta).unwrap();
        fs::write(
            meta.join("meta.json"),
            r#"{"Name":"work","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":false}}}"#,
        )
        .unwrap();
        assert_eq!(
            config.context("work").unwrap().map(|context| context.host),
            Some("tcp://h:1".to_owned())
        );
        assert_eq!(config.context("home").unwrap(), None);
        assert_eq!(config.current_context(), None);
    }
}
