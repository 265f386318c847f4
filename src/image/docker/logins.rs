//! The logins of the Docker command line for the registry client.

use std::sync::Arc;

use bollard::auth::DockerCredentials;
use oci_image::registry::{Client, Credentials, CredentialsFuture, Login, Options, Secret};

use super::docker_config::DockerConfig;
use super::insecure::insecure_registries;

/// A client with the logins of the Docker command line, which trusts the registries that the Docker engine trusts.
#[must_use]
pub fn registry_client(config: &DockerConfig) -> Client {
    Client::new(Options {
        insecure: insecure_registries(),
        credentials: DockerLogins::new(config.clone()),
        ..Options::default()
    })
}

/// Asks Docker's configuration and its credential helpers.
struct DockerLogins(DockerConfig);

impl DockerLogins {
    /// Of this configuration.
    fn new(config: DockerConfig) -> Arc<Self> {
        Arc::new(Self(config))
    }
}

impl Credentials for DockerLogins {
    fn account(&self, host: &str, repository: &str) -> String {
        self.0.account(&format!("{host}/{repository}"))
    }

    fn login<'a>(&'a self, account: &'a str) -> CredentialsFuture<'a> {
        Box::pin(async move {
            let found = self.0.credentials(account).await?;
            Ok(found.and_then(login))
        })
    }
}

/// A token goes before a password: Docker keeps the password empty beside one.
fn login(credentials: DockerCredentials) -> Option<Login> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = given(credentials.registrytoken) {
        return Some(Login::RegistryToken(Secret::new(token)));
    }
    if let Some(token) = given(credentials.identitytoken) {
        return Some(Login::IdentityToken(Secret::new(token)));
    }
    Some(Login::Password {
        user: given(credentials.username)?,
        password: Secret::new(credentials.password.unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn credentials(user: &str, password: &str, token: Option<&str>) -> DockerCredentials {
        DockerCredentials {
            username: Some(user.to_owned()),
            password: Some(password.to_owned()),
            identitytoken: token.map(str::to_owned),
            ..DockerCredentials::default()
        }
    }

    #[test]
    fn a_login_is_a_password_or_a_token() {
        assert_eq!(
            login(credentials("jo", "pass", None)),
            Some(Login::Password {
                user: "jo".into(),
                password: Secret::new("pass")
            })
        );
        assert_eq!(
            login(credentials("<token>", "", Some("t"))),
            Some(Login::IdentityToken(Secret::new("t")))
        );
        assert_eq!(login(credentials("", "pass", None)), None);
        assert_eq!(login(DockerCredentials::default()), None);
    }

    #[tokio::test]
    async fn logins_of_docker_are_used() {
        let folder = tempfile::tempdir().unwrap();
        // `printf jo:secret | base64`
        let json = r#"{"auths": {"r.example.com": {"auth": "am86c2VjcmV0"}}}"#;
        fs::write(folder.path().join("config.json"), json).unwrap();
        let logins = DockerLogins::new(DockerConfig::read(folder.path()).unwrap());
        let found = logins.login("r.example.com").await.unwrap();
        let Some(Login::Password { user, password }) = found else {
            panic!("{found:?}");
        };
        assert_eq!((user.as_str(), password.reveal()), ("jo", "secret"));
        assert!(logins.login("docker.io").await.unwrap().is_none());
        assert_eq!(logins.account("r.example.com", "team/a"), "r.example.com");
    }
}
