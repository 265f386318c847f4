//! Token servers: a login, or none, is changed for a token that allows some things for some minutes
//! (distribution, "Token authentication" and "OAuth2 token authentication").

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use reqwest::Url;
use serde::Deserialize;
use tokio::time::Instant;

use super::auth::{Scope, basic, bearer, in_the_clear};
use super::challenge::Bearer;
use super::client::{Client, Repository};
use super::credentials::Login;
use super::error::{Action, ErrorKind, RegistryError};
use super::transport::{Call, Payload};

/// How long a token lasts where the server does not say (distribution specification of tokens).
const USUAL_LIFE: u64 = 60;
/// A token this near to its end is not used any more.
const MARGIN: u64 = 10;
const ANSWER_LIMIT: usize = 1024 * 1024;

/// What a token server gave.
pub(super) struct Token {
    /// `Bearer …`.
    pub(super) header: HeaderValue,
    pub(super) expires: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Client {
    /// A token from the server that the registry named.
    pub(super) async fn fetch_token(
        &self,
        repository: &Repository,
        challenge: &Bearer,
        scope: &Scope,
        login: Option<&Login>,
    ) -> Result<Token, RegistryError> {
        let protocol = |message: &str| {
            repository.error(&Action::LogIn, ErrorKind::Protocol(message.to_owned()))
        };
        let realm: Url = challenge
            .realm
            .parse()
            .ok()
            .filter(|url: &Url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| protocol("the registry names a token server that is no address"))?;
        if login.is_some() && !self.is_confidential(&realm).await {
            return Err(in_the_clear(repository));
        }
        let (call, authorization) = request(repository, &realm, (challenge, scope), login);
        let mut response = self.follow(&call, &realm, authorization.as_ref()).await?;
        if !response.status().is_success() {
            return Err(match self.refusal(&call, response).await {
                error if *error.kind() == ErrorKind::NotFound => {
                    protocol("the token server has nothing at the address that the registry named")
                }
                error => error,
            });
        }
        let body = self.read(&call, &mut response, ANSWER_LIMIT).await?;
        parse(&body).ok_or_else(|| protocol("the token server gave no token"))
    }
}

/// GET with the password as `Basic`, or POST with the identity token in a form.
fn request(
    repository: &Repository,
    realm: &Url,
    (challenge, scope): (&Bearer, &Scope),
    login: Option<&Login>,
) -> (Call, Option<HeaderValue>) {
    let service = challenge.service.as_deref().unwrap_or_default();
    if let Some(Login::IdentityToken(token)) = login {
        let scope = scope.to_string();
        let form = [
            ("grant_type", "refresh_token"),
            ("service", service),
            ("client_id", "stackctl"),
            ("scope", &scope),
            ("refresh_token", token.reveal()),
        ];
        let target = (Method::POST, realm.clone());
        let call = Call::new(repository, &Action::LogIn, target, &[200])
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            )
            .payload(Payload::Whole(encode(&form)));
        return (call, None);
    }
    let mut url = realm.clone();
    let mut authorization = None;
    {
        let mut query = url.query_pairs_mut();
        if !service.is_empty() {
            query.append_pair("service", service);
        }
        query.extend_pairs(scope.iter().map(|scope| ("scope", scope)));
        if let Some(Login::Password { user, password }) = login {
            query.append_pair("account", user);
            authorization = Some(basic(user, password));
        }
    }
    let call = Call::new(repository, &Action::LogIn, (Method::GET, url), &[200]);
    (call, authorization)
}

/// `application/x-www-form-urlencoded`, as queries are.
fn encode(form: &[(&str, &str)]) -> Bytes {
    let mut url: Url = "form:/".parse().expect("an address");
    url.query_pairs_mut().extend_pairs(form);
    Bytes::from(url.query().unwrap_or_default().to_owned())
}

fn parse(body: &[u8]) -> Option<Token> {
    let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
    let token = [answer.token, answer.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty())?;
    let life = answer.expires_in.unwrap_or(USUAL_LIFE);
    let life = life.saturating_sub(MARGIN).max(life / 2).min(24 * 60 * 60);
    Some(Token {
        header: bearer(&token)?,
        expires: Instant::now() + Duration::from_secs(life),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_are_read_in_every_shape() {
        for (body, header, life) in [
            (r#"{"token":"a"}"#, "Bearer a", 50),
            (r#"{"access_token":"b","expires_in":300}"#, "Bearer b", 290),
            (
                r#"{"token":"","access_token":"c","expires_in":8}"#,
                "Bearer c",
                4,
            ),
            (
                r#"{"token":"d","expires_in":18446744073709551615}"#,
                "Bearer d",
                86_400,
            ),
        ] {
            let token = parse(body.as_bytes()).unwrap();
            assert_eq!(token.header, header);
            assert_eq!(token.expires.duration_since(Instant::now()).as_secs(), life);
            assert!(!format!("{token:?}{:?}", token.header).contains("Bearer"));
        }
        for body in ["", "{}", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, "<html>"] {
            assert!(parse(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn forms_are_encoded() {
        let form = encode(&[("a", "b c&d=/+"), ("e", "ä")]);
        assert_eq!(form, "a=b+c%26d%3D%2F%2B&e=%C3%A4");
    }
}
