//! Requests on their way: logins, redirects, silence, and answers that are refusals.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{Response, Url};

use super::auth::Scope;
use super::client::{Client, Repository};
use super::error::{Action, ErrorKind, RegistryError, kind_of};
use super::link::{resolve, same_origin};
use super::retry::{Attempts, parse_retry_after};
use super::said::parse_said;
use super::sending::{Part, Sending};

/// Redirects that are followed for one request.
const REDIRECTS: usize = 10;
/// How much of a refusal is read.
const REFUSAL_LIMIT: usize = 64 * 1024;

/// A request to a registry.
pub(super) struct Call {
    pub(super) repository: Repository,
    pub(super) action: Action,
    /// What a token has to allow.
    pub(super) scope: Scope,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
    /// Statuses that are answers; all others are errors.
    pub(super) accept: &'static [u16],
}

/// What is sent with a request; it can be sent again.
pub(super) enum Payload {
    Nothing,
    Whole(Bytes),
    Part(Part),
}

/// An answer that was read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) url: Url,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn new(
        repository: &Repository,
        action: &Action,
        (method, url): (Method, Url),
        accept: &'static [u16],
    ) -> Self {
        Self {
            repository: repository.clone(),
            action: action.clone(),
            scope: Scope::pull(&repository.name),
            method,
            url,
            headers: HeaderMap::new(),
            payload: Payload::Nothing,
            accept,
        }
    }

    pub(super) fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    pub(super) fn header(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    pub(super) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    pub(super) fn error(&self, kind: ErrorKind) -> RegistryError {
        self.repository.error(&self.action, kind)
    }

    pub(super) fn protocol(&self, message: impl Into<String>) -> RegistryError {
        self.error(ErrorKind::Protocol(message.into()))
    }
}

impl Answer {
    /// A header as text; empty where it is missing.
    pub(super) fn header(&self, name: &str) -> &str {
        text(&self.headers, name)
    }
}

impl Client {
    /// Sends a request that can be repeated, as often as it takes, and reads the answer: up to `limit` bytes.
    pub(super) async fn fetch(&self, call: &Call, limit: usize) -> Result<Answer, RegistryError> {
        let mut attempts = Attempts::new(self.options().retry);
        loop {
            match self.fetch_once(call, limit).await {
                Ok(answer) => return Ok(answer),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    /// Sends a request once and reads the answer.
    pub(super) async fn fetch_once(
        &self,
        call: &Call,
        limit: usize,
    ) -> Result<Answer, RegistryError> {
        let mut response = self.send(call).await?;
        let body = match call.method {
            Method::HEAD => Bytes::new(),
            _ => self.read(call, &mut response, limit).await?,
        };
        Ok(Answer {
            status: response.status(),
            headers: response.headers().clone(),
            url: response.url().clone(),
            body,
        })
    }

    /// Sends a request; where the registry wants a login, or another one, a second time with it.
    pub(super) async fn send(&self, call: &Call) -> Result<Response, RegistryError> {
        let host = &call.repository.host;
        let home = self.home(host).await;
        let authorization = self.authorization(call).await?;
        let response = self.follow(call, &home, authorization.as_ref()).await?;
        // It answered: now it is known how it speaks, if it was not before.
        host.plain.set(home.scheme() == "http").ok();
        let asked =
            response.status() == StatusCode::UNAUTHORIZED && same_origin(response.url(), &home);
        if !asked {
            return self.accepted(call, response).await;
        }
        let challenge = super::auth::challenge(response.headers());
        let refusal = self.refusal(call, response).await;
        let renewed = match challenge {
            Some(challenge) => self.renew(call, challenge, authorization.as_ref()).await?,
            None => None,
        };
        let Some(renewed) = renewed else {
            return Err(refusal);
        };
        let response = self.follow(call, &home, Some(&renewed)).await?;
        self.accepted(call, response).await
    }

    /// Sends a request and follows redirects. `authorization` goes to `home` alone.
    pub(super) async fn follow(
        &self,
        call: &Call,
        home: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let mut url = call.repository.host.rebased(&call.url, home);
        for _ in 0..=REDIRECTS {
            let authorization = authorization.filter(|_| same_origin(&url, home));
            let response = self.exchange(call, &url, authorization).await?;
            match redirect(call, &response)? {
                None => return Ok(response),
                Some(next) => url = next,
            }
        }
        Err(call.protocol("the registry redirects without end"))
    }

    /// One request, one answer.
    async fn exchange(
        &self,
        call: &Call,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let http = self
            .http(url)
            .map_err(|error| call.error(ErrorKind::Tls).because(error))?;
        let sending = Arc::new(Sending::default());
        let mut request = http
            .request(call.method.clone(), url.clone())
            .headers(call.headers.clone());
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request = match &call.payload {
            Payload::Nothing if matches!(call.method, Method::GET | Method::HEAD) => request,
            Payload::Nothing => request.header(CONTENT_LENGTH, 0),
            Payload::Whole(bytes) => request.body(bytes.clone()),
            Payload::Part(part) => request
                .header(CONTENT_LENGTH, part.length)
                .body(sending.body(part)),
        };
        tracing::trace!(method = %call.method, host = url.host_str(), path = url.path(), "request");
        let idle = self.options().timeouts.idle;
        match sending.while_moving(idle, request.send()).await {
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => Err(match sending.failure() {
                Some(failure) => call.error(ErrorKind::Local).because(failure),
                None => transport_error(call, error),
            }),
            None => Err(silence(call, idle)),
        }
    }

    /// The answer, where its status is one of those that are.
    async fn accepted(&self, call: &Call, response: Response) -> Result<Response, RegistryError> {
        if call.accept.contains(&response.status().as_u16()) {
            Ok(response)
        } else {
            Err(self.refusal(call, response).await)
        }
    }

    /// The error that an answer stands for.
    pub(super) async fn refusal(&self, call: &Call, mut response: Response) -> RegistryError {
        let status = response.status();
        let retry_after = parse_retry_after(
            text(response.headers(), RETRY_AFTER.as_str()),
            SystemTime::now(),
        );
        let content_type = text(response.headers(), CONTENT_TYPE.as_str()).to_owned();
        let body = match call.method {
            Method::HEAD => Bytes::new(),
            // What cannot be read says nothing; the status says enough.
            _ => self
                .read(call, &mut response, REFUSAL_LIMIT)
                .await
                .unwrap_or_default(),
        };
        let said = parse_said(&content_type, &body);
        let is_denied = said.iter().any(|said| said.code == "DENIED");
        let kind = match kind_of(status, retry_after) {
            // The token server gave a token that allows less than was asked for.
            ErrorKind::Unauthorized if is_denied => ErrorKind::Denied,
            kind => kind,
        };
        call.error(kind).saying(said)
    }

    /// The body of an answer, of at most `limit` bytes.
    pub(super) async fn read(
        &self,
        call: &Call,
        response: &mut Response,
        limit: usize,
    ) -> Result<Bytes, RegistryError> {
        let mut body = Vec::new();
        while let Some(piece) = self.read_piece(call, response).await? {
            if body.len() + piece.len() > limit {
                return Err(call.protocol(format!("the answer is larger than {limit} bytes")));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.into())
    }

    /// The next bytes of an answer.
    pub(super) async fn read_piece(
        &self,
        call: &Call,
        response: &mut Response,
    ) -> Result<Option<Bytes>, RegistryError> {
        let idle = self.options().timeouts.idle;
        match tokio::time::timeout(idle, response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(transport_error(call, error)),
            Err(_) => Err(silence(call, idle)),
        }
    }
}

/// A header as text; empty where it is missing or no text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Where an answer sends the request instead.
fn redirect(call: &Call, response: &Response) -> Result<Option<Url>, RegistryError> {
    let repeats = matches!(call.method, Method::GET | Method::HEAD);
    match response.status().as_u16() {
        307 | 308 => {}
        301..=303 if repeats => {}
        301..=303 => return Err(call.protocol("the registry redirects what is written to it")),
        _ => return Ok(None),
    }
    let location = text(response.headers(), LOCATION.as_str());
    let target = resolve(response.url(), location)
        .filter(|_| !location.is_empty())
        .ok_or_else(|| call.protocol("the registry redirects to nowhere"))?;
    if response.url().scheme() == "https" && target.scheme() == "http" {
        return Err(call.protocol("the registry redirects from TLS to plain HTTP"));
    }
    let has_login = call.action == Action::LogIn && !matches!(call.payload, Payload::Nothing);
    if has_login && !same_origin(response.url(), &target) {
        return Err(call.protocol("the token server passes logins on to another host"));
    }
    Ok(Some(target))
}

fn transport_error(call: &Call, error: reqwest::Error) -> RegistryError {
    let kind = if error.is_builder() {
        ErrorKind::Protocol("the request cannot be built".to_owned())
    } else if error.is_connect() && tls_error(&error).is_some() {
        ErrorKind::Tls
    } else {
        ErrorKind::Unreachable
    };
    // Addresses of object stores are as good as logins.
    call.error(kind).because(error.without_url())
}

/// What TLS has to say about an error.
pub(super) fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What is wrapped in an I/O error is not its source but stands in its place.
        cause = match error.downcast_ref::<io::Error>().map(io::Error::get_ref) {
            Some(Some(inner)) => Some(inner),
            _ => error.source(),
        };
    }
    None
}

fn silence(call: &Call, idle: Duration) -> RegistryError {
    let cause = io::Error::new(
        io::ErrorKind::TimedOut,
        format!("nothing moved for {} s", idle.as_secs_f32()),
    );
    call.error(ErrorKind::Unreachable).because(cause)
}
