//! Requests, sensible and not.

use std::fmt;

use axum::body::Body as HttpBody;
use http::{HeaderName, HeaderValue, Request, header};
use proptest::collection::vec;
use proptest::prelude::{Just, any};
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::{BoxedStrategy, Strategy, Union};

use super::body;
use super::document::Operation;
use super::path::Segment;

/// More than these are not shown of a body or a path.
const SHOWN: usize = 1000;
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
];
/// That services and what is around them look at.
const HEADERS: [&str; 11] = [
    "x-request-id",
    "x-forwarded-for",
    "idempotency-key",
    "if-none-match",
    "if-match",
    "range",
    "accept",
    "accept-encoding",
    "expect",
    "content-length",
    "content-encoding",
];
/// Parts of a path.
const ODD_PARTS: [&str; 14] = [
    "",
    ".",
    "..",
    "%",
    "%zz",
    "%00",
    "%FF",
    "%C3%28",
    "a%2Fb",
    "%2e%2e%2f",
    "a%20b",
    "a+b",
    ";a=b",
    "%E2%80%AE",
];

/// A request that may be none.
#[derive(Clone, PartialEq, Eq)]
pub struct Draft {
    /// The operation that it was made for, such as `PUT /hello/{user}`.
    pub(super) aims_at: String,
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// Where bytes go in a request that is sensible otherwise.
#[derive(Clone, Copy, Debug)]
pub enum Slot<'a> {
    /// Percent-encoded, in the places of the parameters of the path: what follows a slash is for the next one, and the
    /// last takes the rest.
    Path(&'a [u8]),
    /// The query, percent-encoded but for `=`, `&`, `+` and `%`.
    Query(&'a [u8]),
    /// The value of this header.
    Header(&'a str, &'a [u8]),
    /// The body, with the content type that the operation takes.
    Body(&'a [u8]),
    /// The file in each field of a form.
    File(&'a [u8]),
}

impl Draft {
    /// The example that the document gives.
    pub(super) fn example(operation: &Operation) -> Self {
        let body = operation.body.as_ref();
        let kind = body.map(|body| ("content-type".to_owned(), body.content_type()));
        Self {
            aims_at: operation.name(),
            method: operation.method.clone(),
            target: operation.example_path(),
            headers: kind.into_iter().collect(),
            body: body.map(body::Body::example).unwrap_or_default(),
        }
    }

    pub(super) fn with(operation: &Operation, slot: Slot<'_>) -> Self {
        let mut draft = Self::example(operation);
        match slot {
            Slot::Path(bytes) => {
                let is_parameter = |segment: &_| matches!(segment, Segment::Parameter(_));
                let count = operation.path.segments().filter(is_parameter).count();
                let mut values = bytes.splitn(count, |byte| *byte == b'/');
                let part = |segment| match segment {
                    Segment::Literal(text) => str::to_owned(text),
                    Segment::Parameter(_) => encoded(values.next().unwrap_or_default(), b""),
                };
                let parts: Vec<String> = operation.path.segments().map(part).collect();
                draft.target = format!("/{}", parts.join("/"));
            }
            Slot::Query(bytes) => draft.target += &format!("?{}", encoded(bytes, b"=&+%")),
            Slot::Header(name, bytes) => draft.headers.push((name.to_owned(), bytes.to_vec())),
            Slot::Body(bytes) => draft.body = bytes.to_vec(),
            Slot::File(bytes) => {
                let body = operation.body.as_ref();
                draft.body = body.map(|body| body.form(bytes)).unwrap_or_default();
            }
        }
        draft
    }

    /// None where HTTP has no such request.
    pub(super) fn to_request(&self) -> Option<Request<HttpBody>> {
        let mut request = Request::builder()
            .method(self.method.as_str())
            .uri(self.target.as_str());
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().ok()?;
            let value = HeaderValue::from_bytes(value).ok()?;
            request = request.header(name, value);
        }
        request.body(HttpBody::from(self.body.clone())).ok()
    }
}

/// Any request for one of the operations, or for none.
pub(super) fn any_draft(operations: &[Operation]) -> BoxedStrategy<Draft> {
    Union::new(operations.iter().map(for_operation)).boxed()
}

fn for_operation(operation: &Operation) -> BoxedStrategy<Draft> {
    let name = operation.name();
    let method = prop_oneof![
        12 => Just(operation.method.clone()),
        1 => select(&METHODS).prop_map(String::from),
        1 => "[A-Za-z!#$%&'*+.^_`|~0-9-]{1,20}",
    ];
    let headers = operation.in_header.iter().cloned();
    let headers: Vec<String> = headers.chain(HEADERS.map(String::from)).collect();
    let headers = vec((select(headers), any_value()), 0..4);
    let body = body::anything(operation.body.as_ref());
    let parts = (
        method,
        any_path(operation),
        any_query(operation),
        headers,
        body,
    );
    let draft = parts.prop_map(move |(method, path, query, mut headers, (kind, body))| {
        if !kind.is_empty() {
            headers.push((header::CONTENT_TYPE.to_string(), kind));
        }
        Draft {
            aims_at: name.clone(),
            method,
            target: path + &query,
            headers,
            body,
        }
    });
    draft.boxed()
}

fn any_path(operation: &Operation) -> BoxedStrategy<String> {
    let segments = operation.path.segments().map(|segment| match segment {
        Segment::Literal(text) => prop_oneof![30 => Just(text.to_owned()), 1 => any_part()].boxed(),
        Segment::Parameter(name) => {
            let example = operation.in_path.get(name).cloned().unwrap_or_default();
            prop_oneof![3 => Just(example), 2 => any_part()].boxed()
        }
    });
    let segments: Vec<BoxedStrategy<String>> = segments.collect();
    let path = segments.prop_map(|parts| format!("/{}", parts.join("/")));
    prop_oneof![20 => path, 1 => "/[ -~]{0,60}", 1 => Just("*".to_owned())].boxed()
}

fn any_part() -> BoxedStrategy<String> {
    prop_oneof![
        3 => select(&ODD_PARTS).prop_map(String::from),
        3 => vec(any::<u8>(), 0..40).prop_map(|bytes| encoded(&bytes, b"")),
        2 => "\\PC{0,30}".prop_map(|text| encoded(text.as_bytes(), b"")),
        2 => "[!-~]{0,30}",
        1 => (1..9000_usize).prop_map(|length| "x".repeat(length)),
    ]
    .boxed()
}

fn any_query(operation: &Operation) -> BoxedStrategy<String> {
    let junk = prop_oneof![
        2 => "\\?[!-~]{0,60}",
        1 => vec(any::<u8>(), 0..60).prop_map(|bytes| format!("?{}", encoded(&bytes, b"=&+%"))),
        1 => (1..9000_usize).prop_map(|length| format!("?{}", "a=b&".repeat(length / 4))),
    ];
    if operation.in_query.is_empty() {
        return prop_oneof![8 => Just(String::new()), 1 => junk].boxed();
    }
    let known = select(operation.in_query.clone()).prop_flat_map(|(name, example)| {
        let value = prop_oneof![
            Just(example),
            any::<i128>().prop_map(|number| number.to_string()),
            any_part(),
        ];
        value.prop_map(move |value| format!("{name}={value}"))
    });
    let known = vec(known, 1..3).prop_map(|pairs| format!("?{}", pairs.join("&")));
    prop_oneof![2 => Just(String::new()), 4 => known, 1 => junk].boxed()
}

fn any_value() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        3 => "[ -~]{0,60}".prop_map(String::into_bytes),
        2 => vec(any::<u8>().prop_filter("of a header", |byte| *byte >= 32 && *byte != 127), 0..60),
        1 => (100..5000_usize).prop_map(|length| vec![b'x'; length]),
        1 => Just(b"*".to_vec()),
    ]
    .boxed()
}

fn encoded(bytes: &[u8], kept: &[u8]) -> String {
    let encode = |byte: &u8| match byte.is_ascii_alphanumeric() || kept.contains(byte) {
        true => char::from(*byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    bytes.iter().map(encode).collect()
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: &[u8]| match bytes.len() {
            length if length > SHOWN => {
                format!("{}… {length} bytes", bytes[..SHOWN].escape_ascii())
            }
            _ => bytes.escape_ascii().to_string(),
        };
        writeln!(f, "{} {}", self.method, shown(self.target.as_bytes()))?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", shown(value))?;
        }
        write!(f, "\n{}", shown(&self.body))
    }
}
