//! Logins: who is asked for them, and a text that no log shows.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// Knows the logins of registries; asked once a registry wants one.
pub trait Credentials: Send + Sync {
    /// The name of the login for a repository; repositories with the same one share it. `host` is `HOST[:PORT]` as in
    /// references, `docker.io` for Docker Hub. Unless said otherwise a registry has one login: `host`.
    fn account(&self, host: &str, _repository: &str) -> String {
        host.to_owned()
    }

    /// The login of that name. `None`: anonymous.
    fn login<'a>(&'a self, account: &'a str) -> CredentialsFuture<'a>;
}

/// What [`Credentials::login`] returns.
pub type CredentialsFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Login>, CredentialsError>> + Send + 'a>>;

/// Why a login could not be looked up; becomes the source of the error.
pub type CredentialsError = Box<dyn Error + Send + Sync>;

/// How somebody shows who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A name and a password, or a personal token in its place.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token that the token server changes for an access token (Docker's `identitytoken`).
    IdentityToken(Secret),
    /// A token that the registry takes as it is (Docker's `registrytoken`).
    RegistryToken(Secret),
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be sent and not to be shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Has no login for anybody.
pub(super) struct Anonymous;

impl Credentials for Anonymous {
    fn login<'a>(&'a self, _account: &'a str) -> CredentialsFuture<'a> {
        Box::pin(async { Ok(None) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_does_not_show_its_secret() {
        let logins = [
            Login::Password {
                user: "jo".into(),
                password: Secret::new("hunter2"),
            },
            Login::IdentityToken(Secret::new("hunter2")),
            Login::RegistryToken(Secret::new("hunter2")),
        ];
        assert!(!format!("{logins:?}").contains("hunter2"));
    }
}
