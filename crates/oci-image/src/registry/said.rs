//! What registries and token servers say went wrong.

use std::fmt;

use serde::Deserialize;

/// How much of it is shown.
const SAID_LIMIT: usize = 5;
const CODE_LIMIT: usize = 64;
const MESSAGE_LIMIT: usize = 400;

/// One error as a registry puts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// `DENIED`, `NAME_UNKNOWN`; empty where the answer had none.
    pub code: String,
    /// Text for people; may be empty.
    pub message: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", message) => f.write_str(message),
            (code, "") => f.write_str(code),
            (code, message) => write!(f, "{code}: {message}"),
        }
    }
}

/// What an answer says went wrong: the errors of the specification, or what token servers write, or one line of
/// plain text. Pages for browsers say nothing.
pub(super) fn parse_said(content_type: &str, body: &[u8]) -> Vec<Said> {
    if let Ok(document) = serde_json::from_slice::<Document>(body) {
        return document.into_said();
    }
    let text = String::from_utf8_lossy(body);
    let line = text.trim_start().lines().next().unwrap_or_default();
    if !content_type.starts_with("text/plain") || line.starts_with('<') {
        return Vec::new();
    }
    said("", line).into_iter().collect()
}

/// All shapes at once: which fields there are tells which one it is.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    errors: Option<Vec<Entry>>,
    #[serde(default)]
    details: Option<serde_json::Value>,
    #[serde(default)]
    message: Option<serde_json::Value>,
    #[serde(default)]
    error: Option<serde_json::Value>,
    #[serde(default)]
    error_description: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: serde_json::Value,
}

impl Document {
    fn into_said(self) -> Vec<Said> {
        let text = |value: Option<serde_json::Value>| match value {
            Some(serde_json::Value::String(text)) => text,
            _ => String::new(),
        };
        if let Some(errors) = self.errors {
            return errors
                .into_iter()
                .filter_map(|entry| said(&text(Some(entry.code)), &text(Some(entry.message))))
                .take(SAID_LIMIT)
                .collect();
        }
        let message = [self.error_description, self.details, self.message]
            .into_iter()
            .map(text)
            .find(|text| !text.is_empty());
        said(&text(self.error), &message.unwrap_or_default())
            .into_iter()
            .collect()
    }
}

fn said(code: &str, message: &str) -> Option<Said> {
    let said = Said {
        code: printable(code, CODE_LIMIT),
        message: printable(message, MESSAGE_LIMIT),
    };
    (!said.code.is_empty() || !said.message.is_empty()).then_some(said)
}

/// At most `limit` characters, on one line, none of which a terminal obeys.
fn printable(text: &str, limit: usize) -> String {
    let unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let clean: String = text
        .chars()
        .map(|c| if unseen(c) { ' ' } else { c })
        .take(limit + 1)
        .collect();
    match clean.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", clean[..end].trim()),
        None => clean.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(content_type: &str, body: &str) -> String {
        let said: Vec<String> = parse_said(content_type, body.as_bytes())
            .iter()
            .map(ToString::to_string)
            .collect();
        said.join(" | ")
    }

    #[test]
    fn what_a_registry_says_is_found_in_every_shape() {
        let json = "application/json";
        for (content_type, body, expected) in [
            (
                json,
                r#"{"errors":[{"code":"DENIED","message":"no","detail":[1]},{"code":"X"}]}"#,
                "DENIED: no | X",
            ),
            (
                json,
                r#"{"errors":[{"code":"DENIED","message":"a\u001b[31m\nb"}]}"#,
                "DENIED: a [31m b",
            ),
            (
                json,
                r#"{"details":"incorrect username or password"}"#,
                "incorrect username or password",
            ),
            (
                json,
                r#"{"error":"invalid_grant","error_description":"expired"}"#,
                "invalid_grant: expired",
            ),
            (json, r#"{"errors":[{"code":7,"message":null}]}"#, ""),
            (json, r#"{"errors":null}"#, ""),
            (json, "[]", ""),
            (json, "{", ""),
            (
                "text/plain; charset=utf-8",
                "404 page not found\n",
                "404 page not found",
            ),
            ("text/plain", "<html>", ""),
            ("text/html", "<html><body>Bad gateway</body></html>", ""),
            ("", "", ""),
        ] {
            assert_eq!(shown(content_type, body), expected, "{body}");
        }
        let long = format!(
            r#"{{"errors":[{{"code":"A","message":"{}"}}]}}"#,
            "ä".repeat(5_000)
        );
        assert_eq!(shown(json, &long).chars().count(), "A: ".len() + 400 + 1);
    }

    proptest! {
        #[test]
        fn no_answer_confuses_it(content_type in "(application/json|text/plain|.{0,12})", body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for said in parse_said(&content_type, &body) {
                prop_assert!(!said.to_string().contains(char::is_control));
            }
        }

        #[test]
        fn printable_is_bounded(text in ".{0,80}", limit in 1_usize..40) {
            let shown = printable(&text, limit);
            prop_assert!(shown.chars().count() <= limit + 1);
            prop_assert!(!shown.contains(char::is_control));
        }
    }
}
