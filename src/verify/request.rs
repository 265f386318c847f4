//! Sends the request of a check.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use reqwest::{Client, Url};

use super::assert::Response;
use super::scope::Scope;
use super::spec::{Body, Content, Part, Request};
use super::template::Unfit;

/// A request with the values of this run, secrets among them: it has no `Debug`.
#[derive(Clone)]
pub(super) struct Prepared {
    /// As it may be shown.
    line: String,
    method: reqwest::Method,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("the path makes no URL")]
    Url,
    #[error("there was no answer within {0:?}")]
    Timeout(Duration),
    #[error("{}", chain(.0))]
    Http(reqwest::Error),
}

impl SendError {
    /// Whether the request cannot have reached anybody.
    pub(super) fn never_sent(&self) -> bool {
        matches!(self, Self::Http(error) if error.is_connect())
    }
}

/// Fills in the values of this run.
pub(super) fn prepare(request: &Request, scope: &Scope) -> Result<Prepared, Unfit> {
    let mut headers = Vec::new();
    for (name, value) in &request.headers {
        if !value.lacks_something(scope) {
            headers.push((name.clone(), value.expand_text(scope)?));
        }
    }
    let (body, media_type) = body(&request.body, scope)?;
    if let Some(media_type) = media_type
        && !headers.iter().any(|(name, _)| name == CONTENT_TYPE)
    {
        headers.push((CONTENT_TYPE, media_type));
    }
    Ok(Prepared {
        line: line(request, scope)?,
        method: request.method.clone(),
        path: request.path.expand_text(scope)?,
        query: query(request, scope)?,
        headers,
        body,
        timeout: request.timeout,
    })
}

fn query(request: &Request, scope: &Scope) -> Result<Vec<(String, String)>, Unfit> {
    let pairs = request.query.iter();
    pairs
        .map(|(name, value)| Ok((name.clone(), value.expand_text(scope)?)))
        .collect()
}

fn line(request: &Request, scope: &Scope) -> Result<String, Unfit> {
    let shown = scope.shown();
    let mut line = format!("{} {}", request.method, request.path.expand_text(&shown)?);
    for (index, (name, value)) in query(request, &shown)?.iter().enumerate() {
        line.push(if index == 0 { '?' } else { '&' });
        line.push_str(name);
        line.push('=');
        line.push_str(value);
    }
    // What was captured may hold one, too.
    Ok(scope.scrub(&line))
}

impl Prepared {
    /// Such as `GET /hello/abc?verbose=1`, without secrets.
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    #[cfg(test)]
    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.headers.iter();
        headers.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Sends it to the server at `base`.
    pub(super) async fn send(&self, client: &Client, base: &Url) -> Result<Response, SendError> {
        let url = target(base, &self.path).ok_or(SendError::Url)?;
        let mut request = client
            .request(self.method.clone(), url)
            .query(&self.query)
            .timeout(self.timeout)
            .body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let start = Instant::now();
        let answer = request.send().await.map_err(|error| self.failed(error))?;
        let status = answer.status().as_u16();
        let headers: HeaderMap = answer.headers().clone();
        let body = answer.bytes().await.map_err(|error| self.failed(error))?;
        Ok(Response::new(status, headers, body, start.elapsed()))
    }

    fn failed(&self, error: reqwest::Error) -> SendError {
        if error.is_timeout() {
            SendError::Timeout(self.timeout)
        } else {
            SendError::Http(error.without_url())
        }
    }
}

/// `base` with the path and the query of `path`; a captured `Location` may be a whole URL, of which
/// only these count: the server is the one under test.
fn target(base: &Url, path: &str) -> Option<Url> {
    let path = match path.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => path,
    };
    if !path.starts_with('/') {
        return None;
    }
    let (path, query) = path
        .split_once('?')
        .map_or((path, None), |(path, query)| (path, Some(query)));
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(query);
    Some(url)
}

fn body(body: &Body, scope: &Scope) -> Result<(Bytes, Option<String>), Unfit> {
    Ok(match body {
        Body::Empty => (Bytes::new(), None),
        Body::Json(template) => (
            Bytes::from(template.expand(scope)?.to_string()),
            Some("application/json".into()),
        ),
        Body::Text(template) => (
            Bytes::from(template.expand_text(scope)?),
            Some("text/plain; charset=utf-8".into()),
        ),
        Body::Multipart(parts) => {
            let boundary = format!("stackctl-{}", uuid::Uuid::new_v4().simple());
            let media_type = format!("multipart/form-data; boundary={boundary}");
            (multipart(parts, &boundary, scope)?, Some(media_type))
        }
    })
}

/// RFC 7578; names have no quotes or line breaks (checked where they are read).
fn multipart(parts: &[Part], boundary: &str, scope: &Scope) -> Result<Bytes, Unfit> {
    let mut body = Vec::new();
    for Part { name, content } in parts {
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"");
        body.extend_from_slice(head.as_bytes());
        match content {
            Content::Text(text) => {
                body.extend_from_slice(b"\r\n\r\n");
                body.extend_from_slice(text.expand_text(scope)?.as_bytes());
            }
            Content::File {
                file_name,
                media_type,
                bytes,
            } => {
                let rest = format!("; filename=\"{file_name}\"\r\nContent-Type: {media_type}");
                body.extend_from_slice(rest.as_bytes());
                body.extend_from_slice(b"\r\n\r\n");
                body.extend_from_slice(bytes);
            }
        }
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok(Bytes::from(body))
}

/// An error and its causes in one line.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn goes_to(base: &str, path: &str, expected: Option<&str>) {
        let url = target(&base.parse().unwrap(), path);
        assert_eq!(url.as_ref().map(Url::as_str), expected);
    }

    #[test]
    fn paths_are_relative_to_the_base() {
        goes_to("http://a:1/", "/x/y", Some("http://a:1/x/y"));
        goes_to("http://a:1/api/", "/x", Some("http://a:1/api/x"));
        goes_to("http://a:1/", "/x?k=v", Some("http://a:1/x?k=v"));
        goes_to("http://a:1/", "/a b/é", Some("http://a:1/a%20b/%C3%A9"));
        goes_to("http://a:1/", "/%2f", Some("http://a:1/%2f"));
        goes_to("http://a:1/", "x", None);
    }

    #[test]
    fn a_captured_location_stays_on_the_server_under_test() {
        goes_to(
            "http://a:1/",
            "https://b/jobs/7?x=1",
            Some("http://a:1/jobs/7?x=1"),
        );
        goes_to("http://a:1/", "https://b", Some("http://a:1/"));
        goes_to(
            "http://a:1/",
            "/go?to=http://b/",
            Some("http://a:1/go?to=http://b/"),
        );
    }
}
