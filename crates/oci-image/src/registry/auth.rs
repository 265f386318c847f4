//! Who we are to a registry: its challenge, the login, and tokens for as long as they last.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::challenge::{self, Challenge};
use super::client::{Client, Repository};
use super::credentials::{Login, Secret};
use super::error::{Action, ErrorKind, RegistryError};
use super::token::Token;
use super::transport::Call;

/// What a token allows: `repository:NAME:pull,push` and the like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope(BTreeSet<String>);

/// What is known about how a registry is logged in to. Tokens are fetched one at a time, so that many requests that
/// start together share one.
#[derive(Default)]
pub(super) struct Auth(tokio::sync::Mutex<State>);

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    /// By account, those that were looked up; `None`: there is none.
    logins: BTreeMap<String, Option<Login>>,
    tokens: BTreeMap<Scope, Token>,
}

impl Scope {
    pub(super) fn pull(repository: &str) -> Self {
        Self([format!("repository:{repository}:pull")].into())
    }

    pub(super) fn push(repository: &str) -> Self {
        Self([format!("repository:{repository}:pull,push")].into())
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn and_also(mut self, scopes: Option<&str>) -> Self {
        let scopes = scopes.unwrap_or_default().split_ascii_whitespace();
        self.0.extend(scopes.map(str::to_owned));
        self
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes: Vec<&str> = self.iter().collect();
        f.write_str(&scopes.join(" "))
    }
}

/// How the answer wants to be logged in to.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let headers = headers.get_all(WWW_AUTHENTICATE);
    challenge::choose(headers.iter().filter_map(|value| value.to_str().ok()))
}

/// `Basic` with this name and password.
pub(super) fn basic(user: &str, password: &Secret) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{user}:{}", password.reveal()));
    sensitive(HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 is ASCII"))
}

/// `Bearer` with this token; `None` where it is no token.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("Bearer {token}"))
        .ok()
        .map(sensitive)
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

impl Client {
    /// What to send with the first try; nothing where the registry has not asked yet.
    pub(super) async fn authorization(
        &self,
        call: &Call,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let mut state = call.repository.host.auth.0.lock().await;
        match state.challenge.clone() {
            None => Ok(None),
            Some(Challenge::Basic) => {
                let login = self.login(&mut state, &call.repository).await?;
                self.with_each_request(call, login).await
            }
            Some(Challenge::Bearer(_)) => match state.tokens.get(&call.scope) {
                Some(token) if token.expires > Instant::now() => Ok(Some(token.header.clone())),
                _ => self.new_token(&mut state, call).await.map(Some),
            },
        }
    }

    /// What to send after the registry refused `used`; `None` where there is nothing better.
    pub(super) async fn renew(
        &self,
        call: &Call,
        challenge: Challenge,
        used: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let mut state = call.repository.host.auth.0.lock().await;
        state.challenge = Some(challenge.clone());
        match challenge {
            Challenge::Basic => {
                if used.is_some() {
                    // A helper may have a newer password by now.
                    state.logins.remove(&self.account(&call.repository));
                }
                let login = self.login(&mut state, &call.repository).await?;
                let header = self.with_each_request(call, login).await?;
                Ok(header.filter(|header| Some(header) != used))
            }
            Challenge::Bearer(_) => match state.tokens.get(&call.scope) {
                // Another request got it in the meantime.
                Some(token) if used != Some(&token.header) && token.expires > Instant::now() => {
                    Ok(Some(token.header.clone()))
                }
                _ => self.new_token(&mut state, call).await.map(Some),
            },
        }
    }

    async fn new_token(
        &self,
        state: &mut State,
        call: &Call,
    ) -> Result<HeaderValue, RegistryError> {
        state.tokens.remove(&call.scope);
        let login = self.login(state, &call.repository).await?;
        if let Some(Login::RegistryToken(token)) = &login {
            return bearer(token.reveal()).ok_or_else(|| not_a_token(&call.repository));
        }
        let Some(Challenge::Bearer(challenge)) = &state.challenge else {
            return Err(call.error(ErrorKind::Unauthorized));
        };
        let scope = call.scope.clone().and_also(challenge.scope.as_deref());
        let token = self
            .fetch_token(&call.repository, challenge, &scope, login.as_ref())
            .await?;
        let header = token.header.clone();
        state.tokens.insert(call.scope.clone(), token);
        Ok(header)
    }

    async fn login(
        &self,
        state: &mut State,
        repository: &Repository,
    ) -> Result<Option<Login>, RegistryError> {
        let account = self.account(repository);
        if let Some(login) = state.logins.get(&account) {
            return Ok(login.clone());
        }
        let credentials = &self.options().credentials;
        let login = credentials.login(&account).await.map_err(|error| {
            repository
                .error(&Action::LogIn, ErrorKind::Credentials)
                .because(error)
        })?;
        state.logins.insert(account, login.clone());
        Ok(login)
    }

    fn account(&self, repository: &Repository) -> String {
        let credentials = &self.options().credentials;
        credentials.account(&repository.host.name, &repository.name)
    }

    /// The header of a login that goes with each request.
    async fn with_each_request(
        &self,
        call: &Call,
        login: Option<Login>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let header = match login {
            None => return Ok(None),
            Some(Login::Password { user, password }) => basic(&user, &password),
            Some(Login::RegistryToken(token)) => {
                bearer(token.reveal()).ok_or_else(|| not_a_token(&call.repository))?
            }
            Some(Login::IdentityToken(_)) => {
                let kind = ErrorKind::Protocol(
                    "the registry wants a password, and there is an identity token".to_owned(),
                );
                return Err(call.repository.error(&Action::LogIn, kind));
            }
        };
        if self.is_confidential(&call.repository.host.origin()).await {
            Ok(Some(header))
        } else {
            Err(in_the_clear(&call.repository))
        }
    }
}

/// The login would be readable on its way.
pub(super) fn in_the_clear(repository: &Repository) -> RegistryError {
    let kind = ErrorKind::Protocol("the login would be sent without TLS".to_owned());
    repository.error(&Action::LogIn, kind)
}

fn not_a_token(repository: &Repository) -> RegistryError {
    let kind = ErrorKind::Protocol("the token has characters that no token has".to_owned());
    repository.error(&Action::LogIn, kind)
}
