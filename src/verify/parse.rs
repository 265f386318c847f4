//! Reads a smoke.yaml: every problem at once, each with its place.

mod expectation;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderName;

use super::names::Names;
use super::path::JsonPath;
use super::reader::Reader;
use super::spec::{Body, Capture, CaptureSource, Check, Content, Part, Request, Suite};
use super::template::Template;
use crate::diagnostic::{Diagnostic, Span, did_you_mean};
use crate::stack::{PortName, Service, ServiceName, Stack};
use crate::yaml::{Key, Node, Value};

const DEADLINE: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(5);

/// Reads files for multipart bodies; the path is relative to the service's folder.
pub(super) type ReadFile<'a> = dyn Fn(&Path) -> std::io::Result<Vec<u8>> + 'a;

/// Reads the file of one service.
pub(super) fn suite(
    document: &Node,
    stack: &Stack,
    service: &Service,
    read: &ReadFile<'_>,
) -> Result<Suite, Vec<Diagnostic>> {
    let mut file = File {
        reader: Reader {
            names: Names {
                values: vec![
                    ("stack.values", stack.values.to_json()),
                    ("env.values", stack.environment.values.to_json()),
                    ("values", service.values.to_json()),
                ],
                secrets: stack.environment.secrets.keys().cloned().collect(),
                secrets_file: stack.environment.span.file().path().display().to_string(),
                ..Names::default()
            },
            ..Reader::default()
        },
        stack,
        service,
        read,
        captured_by_skipped: Vec::new(),
    };
    let (deadline, checks) = file.read(document);
    if file.reader.problems.is_empty() {
        Ok(Suite {
            service: service.name.clone(),
            file: std::sync::Arc::clone(document.span.file()),
            deadline,
            checks,
            secrets: file.reader.secrets,
        })
    } else {
        Err(file.reader.problems)
    }
}

struct File<'a> {
    reader: Reader,
    stack: &'a Stack,
    service: &'a Service,
    read: &'a ReadFile<'a>,
    /// What only checks know that are skipped too.
    captured_by_skipped: Vec<String>,
}

impl File<'_> {
    fn read(&mut self, document: &Node) -> (Duration, Vec<Check>) {
        if !self
            .reader
            .is_map(document, "smoke.yaml", &["deadline", "checks"])
        {
            return (DEADLINE, Vec::new());
        }
        let deadline = document
            .get("deadline")
            .and_then(|node| self.reader.duration(node, "`deadline`"));
        let Some(list) = document.get("checks") else {
            let start = Span::start_of(document.span.file());
            self.reader.bad(&start, "`checks` is missing");
            return (DEADLINE, Vec::new());
        };
        let mut names = BTreeSet::new();
        let mut checks = Vec::new();
        for node in self.reader.list(list, "`checks`") {
            if let Some(check) = self.check(node) {
                if !names.insert(check.name.clone()) {
                    let message = format!("two checks are called `{}`", check.name);
                    self.reader.bad(&check.span, message);
                }
                checks.push(check);
            }
        }
        (deadline.unwrap_or(DEADLINE), checks)
    }

    fn check(&mut self, node: &Node) -> Option<Check> {
        const KEYS: [&str; 6] = ["name", "needs", "request", "expect", "capture", "retry"];
        if !self.reader.is_map(node, "a check", &KEYS) {
            return None;
        }
        let without = self.without(node);
        let known = self.reader.names.captures.clone();
        if without.is_some() {
            let more = self.captured_by_skipped.iter().cloned();
            self.reader.names.captures.extend(more);
        }
        let name = self.name(node);
        let request = match node.get("request") {
            Some(request) => self.request(request),
            None => {
                self.reader.bad(&node.span, "`request` is missing");
                None
            }
        };
        let expect = expectation::expect(&mut self.reader, node.get("expect"), &node.span);
        let retry = node
            .get("retry")
            .and_then(|node| self.reader.bool(node, "`retry`"));
        let captures = self.captures(node.get("capture"));
        let new = captures.keys().cloned();
        match without {
            None => self.reader.names.captures.extend(new),
            Some(_) => {
                self.captured_by_skipped.extend(new);
                self.reader.names.captures = known;
            }
        }
        Some(Check {
            span: node
                .get("name")
                .map_or(&node.span, |name| &name.span)
                .clone(),
            name: name?,
            without,
            request: request?,
            expect,
            captures,
            retry: retry.unwrap_or(true),
        })
    }

    /// The first of its `needs` that is disabled.
    fn without(&mut self, check: &Node) -> Option<ServiceName> {
        let Stack {
            services, disabled, ..
        } = self.stack;
        let mut without = None;
        for node in self.reader.list(check.get("needs")?, "`needs`") {
            let Some(text) = self.reader.string(node, "a service") else {
                continue;
            };
            let all = || services.keys().chain(disabled.keys());
            match all().find(|name| name.as_str() == text) {
                Some(name) if disabled.contains_key(name) => {
                    without.get_or_insert(name);
                }
                Some(_) => {}
                None => {
                    let near = did_you_mean(text, all().map(ServiceName::as_str));
                    let problem = self
                        .reader
                        .bad(&node.span, format!("there is no service `{text}`"));
                    let hint = near.map(|near| format!("did you mean `{near}`?"));
                    problem.hints.extend(hint);
                }
            }
        }
        without.cloned()
    }

    fn name(&mut self, node: &Node) -> Option<String> {
        let Some(name) = node.get("name") else {
            self.reader
                .bad(&node.span, "`name` is missing")
                .hints
                .push("say what the check proves: `name: stores a birthday`".into());
            return None;
        };
        self.reader.string(name, "`name`").map(str::to_owned)
    }

    fn request(&mut self, node: &Node) -> Option<Request> {
        const KEYS: [&str; 9] = [
            "method",
            "port",
            "path",
            "headers",
            "query",
            "json",
            "body",
            "multipart",
            "timeout",
        ];
        if !self.reader.is_map(node, "`request`", &KEYS) {
            return None;
        }
        let method = self.method(node.get("method"));
        let port = self.port(node);
        let path = self.path(node);
        let headers = self.headers(node.get("headers"));
        let query = self.query(node.get("query"));
        let body = self.body(node);
        let timeout = node
            .get("timeout")
            .and_then(|node| self.reader.duration(node, "`timeout`"));
        Some(Request {
            span: node.span.clone(),
            method: method?,
            port: port?,
            path: path?,
            headers,
            query,
            body,
            timeout: timeout.unwrap_or(TIMEOUT),
        })
    }

    fn method(&mut self, node: Option<&Node>) -> Option<Method> {
        let Some(node) = node else {
            return Some(Method::GET);
        };
        let text = self.reader.string(node, "`method`")?;
        match Method::from_bytes(text.as_bytes()) {
            Ok(method) if !text.chars().any(|c| c.is_ascii_lowercase()) => Some(method),
            _ => {
                self.reader
                    .bad(&node.span, format!("`{text}` is no HTTP method"))
                    .hints
                    .push("methods are written like GET, PUT, POST, PATCH, DELETE".into());
                None
            }
        }
    }

    fn port(&mut self, request: &Node) -> Option<PortName> {
        let ports = &self.service.ports;
        let known = || {
            let names: Vec<&str> = ports.keys().map(PortName::as_str).collect();
            format!(
                "ports of service `{}`: {}",
                self.service.name,
                if names.is_empty() {
                    "none".into()
                } else {
                    names.join(", ")
                }
            )
        };
        let Some(node) = request.get("port") else {
            let mut names = ports.keys();
            let default = match (ports.get_key_value("http"), names.next(), names.next()) {
                (Some((http, _)), _, _) => Some(http),
                (None, only, None) => only,
                _ => None,
            };
            if default.is_none() {
                let message = "`port` is missing, and the service has no port `http`";
                self.reader.bad(&request.span, message).hints.push(known());
            }
            return default.cloned();
        };
        let text = self.reader.string(node, "`port`")?;
        if let Some((name, _)) = ports.get_key_value(text) {
            return Some(name.clone());
        }
        let hint = did_you_mean(text, ports.keys().map(PortName::as_str))
            .map_or_else(known, |near| format!("did you mean `{near}`?"));
        let message = format!("service `{}` has no port `{text}`", self.service.name);
        self.reader.bad(&node.span, message).hints.push(hint);
        None
    }

    fn path(&mut self, request: &Node) -> Option<Template> {
        let Some(node) = request.get("path") else {
            self.reader.bad(&request.span, "`path` is missing");
            return None;
        };
        let text = self.reader.string(node, "`path`")?;
        if !text.starts_with(['/', '{']) {
            self.reader.bad(&node.span, "a path starts with `/`");
        }
        Some(self.reader.text(node, "`path`"))
    }

    fn headers(&mut self, node: Option<&Node>) -> Vec<(HeaderName, Template)> {
        let Some(node) = node else { return Vec::new() };
        let mut headers = Vec::new();
        for (key, value) in self.reader.entries(node, "`headers`") {
            let name = header_name(&mut self.reader, key);
            let value = self.reader.text(value, "a header");
            headers.extend(name.map(|name| (name, value)));
        }
        headers
    }

    fn query(&mut self, node: Option<&Node>) -> Vec<(String, Template)> {
        let Some(node) = node else { return Vec::new() };
        let mut query = Vec::new();
        for (key, value) in self.reader.entries(node, "`query`") {
            query.push((
                key.name.clone(),
                self.reader.text(value, "a query parameter"),
            ));
        }
        query
    }

    fn body(&mut self, request: &Node) -> Body {
        let given: Vec<&(Key, Node)> = request
            .entries()
            .iter()
            .filter(|(key, _)| matches!(key.name.as_str(), "json" | "body" | "multipart"))
            .collect();
        if let [_, (second, _), ..] = given[..] {
            self.reader.bad(
                &second.span,
                "a request has one of `json`, `body` and `multipart`",
            );
        }
        match given.first() {
            None => Body::Empty,
            Some((key, node)) => match key.name.as_str() {
                "json" => Body::Json(self.reader.template(node)),
                "body" => Body::Text(self.reader.text(node, "`body`")),
                _ => self.multipart(node),
            },
        }
    }

    fn multipart(&mut self, node: &Node) -> Body {
        let mut parts = Vec::new();
        for (key, value) in self.reader.entries(node, "`multipart`") {
            if key.name.contains(['"', '\r', '\n']) {
                self.reader.bad(
                    &key.span,
                    "a field's name cannot have quotes or line breaks",
                );
            }
            let content = match value.value {
                Value::Map(_) => self.file(value),
                _ => Some(Content::Text(self.reader.text(value, "a field"))),
            };
            parts.extend(content.map(|content| Part {
                name: key.name.clone(),
                content,
            }));
        }
        Body::Multipart(parts)
    }

    fn file(&mut self, node: &Node) -> Option<Content> {
        self.reader.is_map(node, "a file", &["file", "type"]);
        let media_type = match node.get("type") {
            Some(node) => {
                let text = self.reader.string(node, "`type`")?;
                if !text.contains('/') || text.contains(['\r', '\n']) {
                    self.reader
                        .bad(&node.span, "a media type is written like `image/png`");
                }
                text
            }
            None => "application/octet-stream",
        };
        let Some(file) = node.get("file") else {
            self.reader.bad(&node.span, "`file` is missing");
            return None;
        };
        let text = self.reader.string(file, "`file`")?;
        let path = Path::new(text);
        let inside = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !inside || text.contains(['"', '\r', '\n']) {
            self.reader
                .bad(&file.span, "a file lies in the service's folder")
                .hints
                .push("write its path relative to that, without `..`".into());
            return None;
        }
        match (self.read)(path) {
            Ok(bytes) => Some(Content::File {
                file_name: path.file_name()?.to_string_lossy().into_owned(),
                media_type: media_type.to_owned(),
                bytes: Bytes::from(bytes),
            }),
            Err(error) => {
                let message = format!("cannot read `{text}`: {error}");
                self.reader.bad(&file.span, message);
                None
            }
        }
    }

    fn captures(&mut self, node: Option<&Node>) -> BTreeMap<String, Capture> {
        let Some(node) = node else {
            return BTreeMap::new();
        };
        let mut captures = BTreeMap::new();
        for (key, value) in self.reader.entries(node, "`capture`") {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if key.name.is_empty() || !key.name.chars().all(plain) {
                self.reader
                    .bad(&key.span, "a capture's name has letters, digits, - and _");
            }
            let source = match &value.value {
                Value::Map(_) => self.captured_header(value),
                _ => self
                    .reader
                    .string(value, "a capture")
                    .and_then(|text| json_path(&mut self.reader, text, &value.span))
                    .map(CaptureSource::Json),
            };
            let span = value.span.clone();
            captures.extend(source.map(|source| (key.name.clone(), Capture { span, source })));
        }
        captures
    }

    fn captured_header(&mut self, node: &Node) -> Option<CaptureSource> {
        self.reader.is_map(node, "a capture", &["header"]);
        let name = self.reader.string(node.get("header")?, "`header`")?;
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => Some(CaptureSource::Header(name)),
            Err(_) => {
                self.reader
                    .bad(&node.span, format!("`{name}` is no name of a header"));
                None
            }
        }
    }
}

fn header_name(reader: &mut Reader, key: &Key) -> Option<HeaderName> {
    match HeaderName::from_bytes(key.name.as_bytes()) {
        Ok(name) => Some(name),
        Err(_) => {
            reader.bad(&key.span, format!("`{}` is no name of a header", key.name));
            None
        }
    }
}

fn json_path(reader: &mut Reader, text: &str, span: &Span) -> Option<JsonPath> {
    match JsonPath::parse(text) {
        Ok(path) => Some(path),
        Err(reason) => {
            reader
                .bad(span, format!("bad JSON path `{text}`"))
                .notes
                .push(reason);
            None
        }
    }
}

#[cfg(test)]
mod tests;
