//! Fetching a picture over HTTP.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, Response, Url};
use service_kit::{RequestId, https};

use crate::picture::{Kind, Picture, hash};

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Where pictures come from: a URL of `http` or `https`. It may hold a token,
/// so it cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct BackendUrl(Url);

/// The text is no URL that a picture can come from.
#[derive(Debug, thiserror::Error)]
#[error("no URL that starts with http:// or https://")]
pub struct NotABackend;

/// A server that answers with a picture, another one each time.
#[derive(Debug)]
pub(crate) struct Backend {
    client: Client,
    url: BackendUrl,
    max_bytes: usize,
}

/// What a fetch may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From connecting to the last byte.
    pub(crate) time: Duration,
    /// Of the picture.
    pub(crate) bytes: usize,
}

/// Why there is no new picture. The URL is left out: it may hold a token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the backend does not answer")]
    Request(#[source] reqwest::Error),
    #[error("the backend answered {0}")]
    Status(StatusCode),
    #[error("the backend answered {status} and wants {} s of peace", retry_after.as_secs())]
    Limited {
        status: StatusCode,
        retry_after: Duration,
    },
    #[error("the backend sent more than {0} bytes")]
    TooLarge(usize),
    #[error("the backend sent something else than a PNG, JPEG, GIF or WebP")]
    NotAPicture,
    #[error("the backend sent a broken picture, or only a part of it ({})", .0.content_type())]
    Broken(Kind),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(10),
            bytes: 10 << 20,
        }
    }
}

impl Backend {
    pub(crate) fn new(url: BackendUrl, limits: Limits) -> Result<Self, reqwest::Error> {
        Ok(Self {
            client: https::client(USER_AGENT, limits.time)?,
            url,
            max_bytes: limits.bytes,
        })
    }

    /// A hash, since the URL may hold a token.
    pub(crate) fn key(&self) -> String {
        hash(self.url.0.as_str().as_bytes())
    }

    /// `id` is for the backend's log.
    pub(crate) async fn fetch(&self, id: &RequestId) -> Result<Picture, FetchError> {
        let hide = |error: reqwest::Error| FetchError::Request(error.without_url());
        let mut response = self
            .client
            .get(self.url.0.clone())
            .header(RequestId::HEADER, id.as_str())
            .send()
            .await
            .map_err(hide)?;
        if response.status() != StatusCode::OK {
            return Err(refused(&response));
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(hide)? {
            if bytes.len() + chunk.len() > self.max_bytes {
                return Err(FetchError::TooLarge(self.max_bytes));
            }
            bytes.extend_from_slice(&chunk);
        }
        let kind = Kind::of(&bytes).ok_or(FetchError::NotAPicture)?;
        if !kind.is_whole(&bytes) {
            return Err(FetchError::Broken(kind));
        }
        Ok(Picture::new(kind, bytes.freeze(), SystemTime::now()))
    }
}

impl FromStr for BackendUrl {
    type Err = NotABackend;

    fn from_str(text: &str) -> Result<Self, NotABackend> {
        let url: Url = text.parse().map_err(|_| NotABackend)?;
        let is_backend = ["http", "https"].contains(&url.scheme()) && url.has_host();
        is_backend.then_some(Self(url)).ok_or(NotABackend)
    }
}

impl fmt::Debug for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BackendUrl").finish_non_exhaustive()
    }
}

/// How long a server wants to be left alone, by the `Retry-After` of its answer: seconds, or a date.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

fn refused(response: &Response) -> FetchError {
    let status = response.status();
    match retry_after(response.headers(), SystemTime::now()) {
        Some(retry_after) => FetchError::Limited {
            status,
            retry_after,
        },
        None => FetchError::Status(status),
    }
}

#[cfg(test)]
mod tests;
