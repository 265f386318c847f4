//! Takes secrets out of what others wrote: logs, answers of services.

use serde_json::Value;

use super::{Encoding, SecretValue, SecretValues, encode};
use crate::name::SecretName;

/// A secret shorter than this is not looked for: it would be found everywhere.
pub const SHORTEST: usize = 6;

/// Characters that HTML writes with a name or a number.
const ENTITIES: [(&str, &[u8]); 8] = [
    ("&amp;", b"&"),
    ("&lt;", b"<"),
    ("&gt;", b">"),
    ("&quot;", b"\""),
    ("&#34;", b"\""),
    ("&apos;", b"'"),
    ("&#39;", b"'"),
    ("&#x27;", b"'"),
];

/// Knows secrets, also as URLs, JSON, HTML and Base64 write them. It has no `Debug`: it holds their values.
#[derive(Clone, Default)]
pub struct Scrubber {
    /// Longest first.
    needles: Vec<Needle>,
}

#[derive(Clone)]
struct Needle {
    bytes: Vec<u8>,
    /// What stands there instead.
    shown: String,
}

impl Scrubber {
    /// For all of `values` that are not too short.
    #[must_use]
    pub fn new(values: &SecretValues) -> Self {
        let mut needles: Vec<Needle> = values
            .iter()
            .flat_map(|(name, value)| needles(name, value))
            .collect();
        // A secret that begins with another one would leave its end behind.
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.bytes.len()));
        Self { needles }
    }

    /// The text with `<secret NAME>` where a secret stood.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut scrubbed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let found = self.needles.iter().find_map(|needle| {
                let length = written_length(rest, &needle.bytes)?;
                Some((needle.shown.as_str(), length))
            });
            let (shown, length) = found.unwrap_or_else(|| {
                let length = first.len_utf8();
                (&rest[..length], length)
            });
            scrubbed.push_str(shown);
            rest = &rest[length..];
        }
        scrubbed
    }

    /// The document with all its texts scrubbed, keys included, however they were escaped.
    #[must_use]
    pub fn json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.json(item)).collect(),
            Value::Object(entries) => entries
                .iter()
                .map(|(key, value)| (self.text(key), self.json(value)))
                .collect(),
            // A secret may be made of digits.
            Value::Number(number) => {
                let (plain, scrubbed) = (number.to_string(), self.text(&number.to_string()));
                if plain == scrubbed {
                    value.clone()
                } else {
                    Value::String(scrubbed)
                }
            }
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }
}

/// What is looked for: each line of a value, the whole, and the whole in both alphabets of Base64, without padding.
fn needles(name: &SecretName, value: &SecretValue) -> Vec<Needle> {
    let value = value.expose();
    let base64 = encode(value, Encoding::Base64);
    let base64 = base64.trim_end_matches('=');
    let forms = value.lines().map(|line| line.trim().to_owned());
    let forms = forms.chain([
        value.to_owned(),
        base64.to_owned(),
        base64.replace('+', "-").replace('/', "_"),
    ]);
    forms
        .filter(|form| form.len() >= SHORTEST)
        .map(|form| Needle {
            bytes: form.into_bytes(),
            shown: format!("<secret {name}>"),
        })
        .collect()
}

/// How much of the start of `text` writes `needle`, each of its characters plain or escaped in any way.
fn written_length(text: &str, needle: &[u8]) -> Option<usize> {
    // Where a character may be read both ways, the other one. No recursion: a secret may be a long file.
    let mut open = Vec::new();
    let mut next = Some((0, 0));
    while let Some((length, written)) = next.or_else(|| open.pop()) {
        let needle = &needle[written..];
        if needle.is_empty() {
            return Some(length);
        }
        let way = |(read, wrote)| (length + read, written + wrote);
        // Between the bytes of a character nothing begins that is written otherwise.
        let ways = text
            .get(length..)
            .map(|rest| [plain(rest, needle), escaped(rest, needle)]);
        let [plain, escaped] = ways.unwrap_or_default().map(|found| found.map(way));
        next = plain.or(escaped);
        open.extend(plain.and(escaped));
    }
    None
}

/// How much of `text` is its first character as it is, and how much of `needle` that writes.
fn plain(text: &str, needle: &[u8]) -> Option<(usize, usize)> {
    let length = text.chars().next()?.len_utf8();
    needle
        .starts_with(&text.as_bytes()[..length])
        .then_some((length, length))
}

/// How much of `text` is its first escape, and how much of `needle` that writes.
fn escaped(text: &str, needle: &[u8]) -> Option<(usize, usize)> {
    match text.as_bytes().first()? {
        b'+' => (needle[0] == b' ').then_some((1, 1)),
        b'%' => {
            let byte = u8::from_str_radix(text.get(1..3)?, 16).ok()?;
            (byte == needle[0]).then_some((3, 1))
        }
        b'\\' => {
            let (character, length) = json_escape(&text[1..])?;
            let mut written = [0; 4];
            let written = character.encode_utf8(&mut written).as_bytes();
            needle
                .starts_with(written)
                .then_some((1 + length, written.len()))
        }
        b'&' => ENTITIES.iter().find_map(|(entity, written)| {
            let is_it = text.starts_with(entity) && needle.starts_with(written);
            is_it.then_some((entity.len(), written.len()))
        }),
        _ => None,
    }
}

/// The character of an escape whose text is behind the backslash, and the length of that.
fn json_escape(text: &str) -> Option<(char, usize)> {
    let character = match text.chars().next()? {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => {
            let number = u32::from_str_radix(text.get(1..5)?, 16).ok()?;
            return Some((char::from_u32(number)?, 5));
        }
        other @ ('"' | '\\' | '/') => other,
        _ => return None,
    };
    Some((character, 1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scrubber() -> Scrubber {
        Scrubber::new(&SecretValues::from([
            (
                "key".parse().unwrap(),
                SecretValue::new("-----BEGIN\nabcdefgh\n-----END"),
            ),
            ("longer".parse().unwrap(), SecretValue::new("hunter22XYZ")),
            ("odd".parse().unwrap(), SecretValue::new("p@ss/wo\"rd")),
            ("password".parse().unwrap(), SecretValue::new("hunter22")),
            ("number".parse().unwrap(), SecretValue::new("12345678")),
            ("pin".parse().unwrap(), SecretValue::new("1")),
            ("spaced".parse().unwrap(), SecretValue::new("t\u{e4}& x")),
        ]))
    }

    #[test]
    fn a_secret_as_long_as_a_file_is_found() {
        let line = "%25 0123456789abcdef".repeat(60_000);
        let secret = SecretValue::new(format!("{line}\nend"));
        let scrubber = Scrubber::new(&SecretValues::from([("file".parse().unwrap(), secret)]));
        let text = format!("<{line}\nend> <{line}> <{}>", line.replace('%', "%25"));
        let name = "<secret file>";
        assert_eq!(scrubber.text(&text), format!("<{name}> <{name}> <{name}>"));
    }

    #[test]
    fn secrets_are_found_in_every_form() {
        for (line, expected) in [
            (
                "login as me:hunter22@db failed (1)",
                "login as me:<secret password>@db failed (1)",
            ),
            ("hunter22XYZ", "<secret longer>"),
            (
                "postgres://u:p%40ss%2Fwo%22rd@db",
                "postgres://u:<secret odd>@db",
            ),
            ("p@ss/wo%22rd p%40ss%2fwo\"rd", "<secret odd> <secret odd>"),
            ("cEBzcy93byJyZA==", "<secret odd>=="),
            ("cEBzcy93byJyZA%3D%3D", "<secret odd>%3D%3D"),
            (r#"{"p":"p@ss/wo\"rd"}"#, r#"{"p":"<secret odd>"}"#),
            (
                r#"{"p":"p\u0040ss\/wo\u0022rd"}"#,
                r#"{"p":"<secret odd>"}"#,
            ),
            ("<i>p@ss/wo&quot;rd</i>", "<i><secret odd></i>"),
            (
                "q=t%C3%A4%26+x&amp;t\u{e4}&amp; x",
                "q=<secret spaced>&amp;<secret spaced>",
            ),
            ("100%25 a+b \\ &amp %", "100%25 a+b \\ &amp %"),
            ("line: abcdefgh", "line: <secret key>"),
        ] {
            assert_eq!(scrubber().text(line), expected);
        }
    }

    #[test]
    fn documents_are_scrubbed_however_they_are_escaped() {
        let document: Value =
            serde_json::from_str(r#"{"p@ss\/wo\u0022rd": [12345678, 7, true, "hunter22!"]}"#)
                .unwrap();
        assert_eq!(
            scrubber().json(&document),
            json!({"<secret odd>": ["<secret number>", 7, true, "<secret password>!"]})
        );
    }
}
