//! Fetching a picture over HTTP.

use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http::{HeaderMap, StatusCode, header};
use reqwest::{Certificate, Client, Response, Url};
use service_kit::RequestId;

use crate::picture::{Kind, Picture, hash};

/// For one fetch, from connecting to the last byte.
const LIMIT: Duration = Duration::from_secs(10);
const MAX_BYTES: usize = 10 * 1024 * 1024;

/// A server that answers with a picture, another one each time.
#[derive(Debug)]
pub(crate) struct Backend {
    client: Client,
    url: Url,
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
    #[error("the backend sent more than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    #[error("the backend sent something else than a PNG, JPEG, GIF or WebP")]
    NotAPicture,
}

impl Backend {
    /// The roots are in the binary: the image it runs in holds nothing else.
    pub(crate) fn new(url: Url) -> Result<Self, reqwest::Error> {
        // Fails when it was installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let roots: Result<Vec<Certificate>, _> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .map(|der| Certificate::from_der(der))
            .collect();
        let client = Client::builder()
            .tls_certs_only(roots?)
            .timeout(LIMIT)
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            .build()?;
        Ok(Self { client, url })
    }

    /// A hash, since the URL may hold a token.
    pub(crate) fn key(&self) -> String {
        hash(self.url.as_str().as_bytes())
    }

    /// `id` is for the backend's log.
    pub(crate) async fn fetch(&self, id: &RequestId) -> Result<Picture, FetchError> {
        let hide = |error: reqwest::Error| FetchError::Request(error.without_url());
        let mut response = self
            .client
            .get(self.url.clone())
            .header(RequestId::HEADER, id.as_str())
            .send()
            .await
            .map_err(hide)?;
        if response.status() != StatusCode::OK {
            return Err(refused(&response));
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(hide)? {
            if bytes.len() + chunk.len() > MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        let kind = Kind::of(&bytes).ok_or(FetchError::NotAPicture)?;
        Ok(Picture::new(kind, bytes.freeze(), SystemTime::now()))
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
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), expected, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
