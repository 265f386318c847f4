//! What a smoke.yaml says, once it is known to be right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderName;

use super::matcher::Matcher;
use super::path::JsonPath;
use super::template::Template;
use crate::diagnostic::{SourceFile, Span};
use crate::stack::{PortName, SecretName, ServiceName};

/// The checks of one service.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The service they are about.
    pub service: ServiceName,
    /// Its smoke.yaml.
    pub file: Arc<SourceFile>,
    /// From the start of the file to the last retry.
    pub deadline: Duration,
    /// In the order in which they run.
    pub checks: Vec<Check>,
    /// The secrets that they use, each with the first place.
    pub secrets: BTreeMap<SecretName, Span>,
}

/// One request and what is expected of its answer.
#[derive(Clone, Debug)]
pub struct Check {
    /// What it proves, in the user's words.
    pub name: String,
    /// Where it is written.
    pub span: Span,
    /// Whether it is sent again after a wrong answer.
    pub retry: bool,
    /// A service that it needs and that is disabled in this environment: then it is skipped.
    pub without: Option<ServiceName>,
    pub(super) request: Request,
    pub(super) expect: Expect,
    pub(super) captures: BTreeMap<String, Capture>,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) span: Span,
    pub(super) method: Method,
    pub(super) port: PortName,
    pub(super) path: Template,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) query: Vec<(String, Template)>,
    pub(super) body: Body,
    pub(super) timeout: Duration,
}

/// What is sent behind the headers.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Empty,
    Json(Template),
    Text(Template),
    Multipart(Vec<Part>),
}

/// A field of a form.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) content: Content,
}

/// What a field of a form holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Text(Template),
    File {
        file_name: String,
        media_type: String,
        bytes: Bytes,
    },
}

/// What the answer must be.
#[derive(Clone, Debug)]
pub(super) struct Expect {
    pub(super) status: Status,
    pub(super) headers: Vec<(HeaderName, Rule)>,
    pub(super) json: Vec<(JsonPath, Rule)>,
    pub(super) body: Vec<Rule>,
    pub(super) duration: Vec<Limit>,
}

/// The status codes that are right.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub(super) span: Span,
    /// Empty: any 2xx.
    pub(super) codes: Vec<u16>,
}

/// A matcher and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) span: Span,
    pub(super) matcher: Matcher,
}

/// A bound on how long the answer takes.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) span: Span,
    pub(super) bound: Bound,
    pub(super) duration: Duration,
}

/// Which side of a limit is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Above,
    Below,
}

/// What later checks can use of an answer.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    pub(super) span: Span,
    pub(super) source: CaptureSource,
}

/// Where a captured value comes from.
#[derive(Clone, Debug)]
pub(super) enum CaptureSource {
    Json(JsonPath),
    Header(HeaderName),
}
