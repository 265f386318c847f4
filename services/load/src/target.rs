//! What is asked, again and again, a little different each time.

use std::fs;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use url::Url;

use crate::Run;

/// Different requests there are.
const VARIANTS: usize = 1000;

/// The requests.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `HOST:PORT`
    pub(crate) address: String,
    method: Method,
    path: String,
    content_type: String,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Text(String),
    Bytes(Bytes),
}

impl Target {
    pub(crate) fn new(run: &Run) -> Result<Self> {
        let (before, _) = run.url.split_once('{').unwrap_or((&run.url, ""));
        let url: Url = before
            .parse()
            .with_context(|| format!("`{}` is no URL", run.url))?;
        ensure!(url.scheme() == "http", "only http:// is spoken here");
        let host = url.host_str().context("the URL has no host")?;
        let port = url.port_or_known_default().context("the URL has no port")?;
        let rest = run.url["http://".len()..].find('/');
        let path = rest.map_or("/", |at| &run.url["http://".len() + at..]);
        Ok(Self {
            address: format!("{host}:{port}"),
            method: run.method.clone(),
            path: path.to_owned(),
            content_type: run.content_type.clone(),
            body: match &run.body_file {
                Some(file) => Body::Bytes(
                    fs::read(file)
                        .with_context(|| file.display().to_string())?
                        .into(),
                ),
                None => Body::Text(run.body.clone().unwrap_or_default()),
            },
        })
    }

    /// The request of this number.
    pub(crate) fn request(&self, number: usize) -> Request<Full<Bytes>> {
        let body = match &self.body {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Text(text) => filled(text, number).into(),
        };
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(filled(&self.path, number))
            .header(header::HOST, &self.address);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, &self.content_type);
        }
        request
            .body(Full::new(body))
            .expect("the parts were checked when the first was made")
    }
}

fn filled(text: &str, number: usize) -> String {
    if !text.contains('{') {
        return text.to_owned();
    }
    let number = number % VARIANTS;
    let letter = |at: usize| char::from(b'a' + (number / at % 10) as u8);
    let letters: String = [100, 10, 1].map(letter).into_iter().collect();
    text.replace("{n}", &format!("{number:03}"))
        .replace("{letters}", &letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled() {
        assert_eq!(filled("/a", 7), "/a");
        assert_eq!(filled("/{n}/{letters}", 1207), "/207/cah");
        assert_eq!(filled("{\"a\": \"{n}\"}", 7), "{\"a\": \"007\"}");
    }
}
