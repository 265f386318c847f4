//! What the Docker command line is configured to use: contexts and logins.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use oci_image::Reference;
use serde::Deserialize;

use super::auth_key::{account, docker_key, host_of, nearest};
use super::credential_helper::{HelperError, Helpers};
use super::tls::EngineTls;

/// `~/.docker`, or `$DOCKER_CONFIG`.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    folder: PathBuf,
    file: ConfigFile,
    helpers: Helpers,
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
    /// The file is not what Docker writes. The words of the parser would quote logins.
    #[error(
        "`{}` is not what Docker writes: line {line}, column {column}",
        path.display()
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Where in the line, from 1.
        column: usize,
    },
    /// A credential helper gave no answer.
    #[error(transparent)]
    Helper(#[from] HelperError),
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
            helpers: Helpers::default(),
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

    /// The part of a registry that shares the login for `place`, `HOST/REPOSITORY`.
    pub(super) fn account(&self, place: &str) -> String {
        account(self.file.auths.keys().map(String::as_str), place)
    }

    /// The login for `HOST` or `HOST/REPOSITORY`, from a credential helper or the file.
    pub async fn credentials(
        &self,
        place: &str,
    ) -> Result<Option<DockerCredentials>, DockerConfigError> {
        let server = docker_key(host_of(place));
        let file = &self.file;
        let helper = file.cred_helpers.get(server).or(file.creds_store.as_ref());
        if let Some(helper) = helper
            && let Some(found) = self.helpers.ask(helper, server).await?
        {
            return Ok(Some(found));
        }
        let key = nearest(file.auths.keys().map(String::as_str), place);
        match key.and_then(|key| file.auths.get(key)) {
            Some(auth) if !auth.auth.is_empty() || !auth.identitytoken.is_empty() => {
                self.decode(server, auth).map(Some)
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

/// `HOST/REPOSITORY` of an image reference; its registry alone where it is none, as with a variable in it.
pub(super) fn place_of(reference: &str) -> String {
    match reference.parse::<Reference>() {
        Ok(found) => format!("{}/{}", found.registry(), found.repository()),
        Err(_) => registry_of(reference).to_owned(),
    }
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
        .map_err(|error| DockerConfigError::Parse {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
        })
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
    async fn a_login_is_for_what_lies_below_its_key() {
        // `printf all:x | base64`, `printf team:x | base64`
        let text = r#"{"auths": {"ghcr.io": {"auth": "YWxsOng="}, "ghcr.io/team": {"auth": "dGVhbTp4"},
            "r.example.com/team": {"auth": "dGVhbTp4"}}}"#;
        // The order of a map differs with each one.
        for _ in 0..20 {
            let (_folder, config) = config(text);
            for (place, expected) in [
                ("ghcr.io", Some("all")),
                ("ghcr.io/other-team/app", Some("all")),
                ("ghcr.io/team/app", Some("team")),
                ("r.example.com/team/app", Some("team")),
                ("r.example.com/teams/app", None),
                ("r.example.com", None),
            ] {
                assert_eq!(user(&config, place).await.as_deref(), expected, "{place}");
            }
            assert_eq!(config.account("ghcr.io/team/app"), "ghcr.io/team");
        }
    }

    #[tokio::test]
    async fn a_helper_of_the_registry_goes_before_the_store_and_that_before_the_file() {
        // `printf file:x | base64`
        let (_folder, mut config) = config(
            r#"{"credHelpers": {"login.a.com": "first"}, "credsStore": "second",
                "auths": {"login.a.com": {"auth": "ZmlsZTp4"}, "login.b.com": {"auth": "ZmlsZTp4"},
                "unknown.c.com": {"auth": "ZmlsZTp4"}}}"#,
        );
        config.helpers = Helpers::scripts();
        for (place, expected) in [
            ("login.a.com", Some("first get login.a.com")),
            ("login.a.com/team/app", Some("first get login.a.com")),
            ("login.b.com/team/app", Some("second get login.b.com")),
            ("unknown.c.com", Some("file")),
            ("unknown.d.com", None),
        ] {
            assert_eq!(user(&config, place).await.as_deref(), expected, "{place}");
        }
        let error = config.credentials("locked.e.com").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the credential helper `docker-credential-second` failed: the keyring is locked"
        );
    }

    #[test]
    fn a_damaged_file_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, "{\n \"auths\": {\"r\": \"am86c2VjcmV0\"}}").unwrap();
        let error = DockerConfig::read(folder.path()).unwrap_err();
        let start = format!("`{}` is not what Docker writes: line 2, ", path.display());
        assert!(error.to_string().starts_with(&start), "{error}");
        assert!(!format!("{error:?}").contains("am86"), "{error:?}");
    }

    #[test]
    fn places_are_read_off_references() {
        for (reference, place) in [
            ("redis:7", "docker.io/library/redis"),
            ("ghcr.io/team/app:1", "ghcr.io/team/app"),
            ("ghcr.io/team/$NAME", "ghcr.io"),
            ("$BASE", "docker.io"),
        ] {
            assert_eq!(place_of(reference), place);
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
