//! Bodies: what an operation takes, and what is no such thing.

use proptest::collection::vec;
use proptest::prelude::{Just, any};
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::{BoxedStrategy, Strategy};
use serde_json::{Map, Value, json};

const JSON: &str = "application/json";
const BOUNDARY: &str = "contract";
/// A PNG of one pixel.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\
    \0\0\0\nIDATx\xdac`\0\0\0\x02\0\x01\xe5'\xde\xfc\0\0\0\0IEND\xaeB`\x82";
/// What is no content type, or not that of the body.
const CONTENT_TYPES: [&str; 10] = [
    "",
    "text/plain",
    "application/json; charset=utf-16",
    "application/vnd.api+json",
    "application/json, application/json",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=other",
    "multipart/form-data; boundary=\"\u{7f}",
    "\u{fc}/*; q=1",
];
/// In the place of what was asked for.
const ODD: [&str; 17] = [
    "null",
    "true",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"2000-02-30\"",
    "\"-00001-01-01\"",
    "[]",
    "{}",
    "0",
    "-1",
    "1.5",
    "1e400",
    "-0",
    "9223372036854775808",
    "340282366920938463463374607431768211456",
    "NaN",
];

/// What an operation takes.
#[derive(Clone, Debug)]
pub(super) struct Body {
    content_type: String,
    /// By field.
    fields: Map<String, Value>,
}

/// A body with its content type, as it is sent.
pub(super) type Sent = (Vec<u8>, Vec<u8>);

impl Body {
    pub(super) fn read(whole: &Value, request: &Value) -> Option<Self> {
        let (content_type, content) = request["content"].as_object()?.iter().next()?;
        let Value::Object(fields) = example(whole, &content["schema"]) else {
            return None;
        };
        Some(Self {
            content_type: content_type.clone(),
            fields,
        })
    }

    pub(super) fn content_type(&self) -> Vec<u8> {
        match self.is_json() {
            true => self.content_type.clone().into_bytes(),
            false => format!("{}; boundary={BOUNDARY}", self.content_type).into_bytes(),
        }
    }

    pub(super) fn example(&self) -> Vec<u8> {
        match self.is_json() {
            true => Value::Object(self.fields.clone()).to_string().into_bytes(),
            false => self.form(PIXEL),
        }
    }

    /// The form, with this file in each field.
    pub(super) fn form(&self, file: &[u8]) -> Vec<u8> {
        let parts = self.fields.keys().flat_map(|name| part(name, file));
        let end = format!("--{BOUNDARY}--\r\n").into_bytes();
        parts.chain(end).collect()
    }

    fn is_json(&self) -> bool {
        self.content_type == JSON
    }

    fn text_with(&self, at: usize, value: &str) -> String {
        let fields = self.fields.iter().enumerate().map(|(index, (name, own))| {
            let value = match index == at % self.fields.len() {
                true => value.to_owned(),
                false => own.to_string(),
            };
            format!("{}:{value}", json!(name))
        });
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }
}

/// Any body for an operation that takes this one, or none.
pub(super) fn anything(body: Option<&Body>) -> BoxedStrategy<Sent> {
    let bytes = vec(any::<u8>(), 0..200);
    let types = select(&CONTENT_TYPES).prop_map(|kind| kind.as_bytes().to_vec());
    let Some(body) = body else {
        return prop_oneof![
            6 => Just((Vec::new(), Vec::new())),
            1 => (Just(JSON.as_bytes().to_vec()), bytes.clone()),
            1 => (types, bytes),
        ]
        .boxed();
    };
    let (kind, example) = (body.content_type(), body.example());
    let content = match body.is_json() {
        true => any_json(body),
        false => any_form(body),
    };
    prop_oneof![
        3 => Just((kind.clone(), example.clone())),
        16 => (Just(kind), content),
        2 => (types, Just(example)),
        1 => (vec(any::<u8>(), 0..40), bytes),
    ]
    .boxed()
}

fn any_json(body: &Body) -> BoxedStrategy<Vec<u8>> {
    let (with, example) = (body.clone(), body.example());
    let odd = (any::<usize>(), select(&ODD)).prop_map(move |(at, odd)| with.text_with(at, odd));
    let with = body.clone();
    let text = (any::<usize>(), "\\PC{0,40}")
        .prop_map(move |(at, text)| with.text_with(at, &json!(text).to_string()));
    let with = body.clone();
    let digits = (any::<usize>(), 1..2000_usize)
        .prop_map(move |(at, digits)| with.text_with(at, &"9".repeat(digits)));
    let short = body.clone();
    let missing = any::<usize>().prop_map(move |at| {
        let mut fields = short.fields.clone();
        let name = fields.keys().nth(at % fields.len()).cloned();
        name.and_then(|name| fields.remove(&name));
        Value::Object(fields).to_string()
    });
    let (twice, more) = (body.text_with(0, "1"), body.text_with(0, "2"));
    let twice = format!("{},{}", &twice[..twice.len() - 1], &more[1..]);
    let extra = example.clone();
    let extra = "\\PC{0,10}".prop_map(move |name| {
        let text = String::from_utf8_lossy(&extra[1..]).into_owned();
        format!("{{{}:1,{text}", json!(name))
    });
    let deep = (0..60_000_usize, select(&["[", "{\"a\":"]))
        .prop_map(|(depth, open)| open.repeat(depth.min(60_000 / open.len())));
    let large = Just(format!("{{\"a\":\"{}\"}}", "x".repeat(70_000)));
    let texts = prop_oneof![
        6 => odd, 4 => text, 2 => digits, 2 => missing, 1 => Just(twice), 2 => extra, 1 => deep, 1 => large,
        1 => Just(format!("\u{feff}{}", body.text_with(0, "1"))),
    ];
    prop_oneof![
        4 => texts.prop_map(String::into_bytes),
        1 => damaged(example),
        1 => vec(any::<u8>(), 0..200),
    ]
    .boxed()
}

fn any_form(body: &Body) -> BoxedStrategy<Vec<u8>> {
    let form = body.clone();
    let files = prop_oneof![vec(any::<u8>(), 0..200), damaged(PIXEL.to_vec())];
    let other = "[ -~]{0,20}".prop_map(|name| {
        let end = format!("--{BOUNDARY}--\r\n").into_bytes();
        [part(&name, PIXEL), end].concat()
    });
    prop_oneof![
        4 => files.prop_map(move |file| form.form(&file)),
        4 => damaged(body.example()),
        1 => other,
        1 => vec(any::<u8>(), 0..200),
    ]
    .boxed()
}

/// Cut off, or with bytes of its own.
fn damaged(whole: Vec<u8>) -> BoxedStrategy<Vec<u8>> {
    let (cut, length) = (whole.clone(), whole.len());
    prop_oneof![
        (0..length).prop_map(move |at| cut[..at].to_vec()),
        vec((0..length, any::<u8>()), 1..8).prop_map(move |changes| {
            let mut bytes = whole.clone();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bytes
        }),
    ]
    .boxed()
}

fn part(name: &str, file: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"a\"\r\n\r\n"
    );
    [head.as_bytes(), file, b"\r\n"].concat()
}

/// A value of a schema, the one that it gives as an example where it does.
pub(super) fn example(whole: &Value, schema: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let found = whole.pointer(reference.trim_start_matches('#'));
        return example(whole, found.unwrap_or(&Value::Null));
    }
    for given in [
        &schema["example"],
        &schema["examples"][0],
        &schema["enum"][0],
    ] {
        if !given.is_null() {
            return given.clone();
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds[0].as_str(),
        kind => kind.as_str(),
    };
    match kind {
        Some("object") => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let both = properties.map(|(name, schema)| (name.clone(), example(whole, schema)));
            Value::Object(both.collect())
        }
        Some("array") => json!([example(whole, &schema["items"])]),
        Some("integer" | "number") => match &schema["minimum"] {
            Value::Null => json!(1),
            least => least.clone(),
        },
        Some("boolean") => json!(true),
        _ => match schema["format"].as_str() {
            Some("uuid") => json!("0b9d4c5e-7a51-4f0e-9f0f-5d2f3a1c7e55"),
            Some("date") => json!("2000-01-31"),
            _ => json!("x"),
        },
    }
}
