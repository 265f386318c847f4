//! What is on the stream, read with suspicion.

use std::collections::BTreeMap;

use redis::Value;
use redis::streams::StreamId;
use uuid::Uuid;

/// An increment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Where it is on the stream: `milliseconds-sequence`.
    pub(crate) id: String,
    /// Its name, which no other increment has.
    pub(crate) event: Uuid,
    pub(crate) key: Uuid,
    /// At least 1.
    pub(crate) value: i64,
}

/// A message that can never be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reject {
    pub(crate) id: String,
    pub(crate) reason: String,
    /// The message as it was, as JSON.
    pub(crate) content: String,
}

/// Reads a message.
pub(crate) fn parse(message: &StreamId) -> Result<Hit, Reject> {
    let fields = fields(message);
    let hit = || -> Result<Hit, String> {
        let text = |name: &str| {
            let missing = || format!("it has no field `{name}`");
            fields.get(name).map(String::as_str).ok_or_else(missing)
        };
        let uuid = |name: &str| {
            let wrong = |_| format!("its field `{name}` is not a UUID");
            text(name)?.parse::<Uuid>().map_err(wrong)
        };
        let value = text("value")?.parse().ok().filter(|value| *value >= 1);
        Ok(Hit {
            id: message.id.clone(),
            event: uuid("event")?,
            key: uuid("key")?,
            value: value.ok_or("its field `value` is not an integer from 1 to 2^63 - 1")?,
        })
    };
    hit().map_err(|reason| Reject {
        id: message.id.clone(),
        reason,
        content: json(&fields),
    })
}

impl Hit {
    /// Gives it up, for a reason that only showed when it was applied.
    pub(crate) fn reject(self, reason: String) -> Reject {
        let fields = BTreeMap::from([
            ("event".to_owned(), self.event.to_string()),
            ("key".to_owned(), self.key.to_string()),
            ("value".to_owned(), self.value.to_string()),
        ]);
        Reject {
            content: json(&fields),
            id: self.id,
            reason,
        }
    }

    /// When it was put on the stream, in milliseconds since 1970 by the clock
    /// of Redis.
    pub(crate) fn added_at_ms(&self) -> Option<u64> {
        self.id.split_once('-')?.0.parse().ok()
    }
}

fn fields(message: &StreamId) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let fields = message.map.iter();
    fields
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

fn json(fields: &BTreeMap<String, String>) -> String {
    serde_json::to_string(fields).expect("a map of texts is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0b9d4c5e-7a51-4f0e-9f0f-5d2f3a1c7e55";
    const EVENT: &str = "0198c2a0-0000-7000-8000-000000000001";

    fn message(fields: &[(&str, &str)]) -> StreamId {
        let value = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        StreamId {
            id: "1700000000123-4".to_owned(),
            map: fields
                .iter()
                .map(|(name, text)| ((*name).to_owned(), value(text)))
                .collect(),
            ..StreamId::default()
        }
    }

    #[test]
    fn reads_an_increment() {
        let hit = parse(&message(&[("event", EVENT), ("key", KEY), ("value", "7")])).unwrap();
        assert_eq!((hit.key.to_string().as_str(), hit.value), (KEY, 7));
        assert_eq!(hit.added_at_ms(), Some(1_700_000_000_123));
    }

    #[test]
    fn rejects_the_rest_with_its_reason() {
        for (fields, reason) in [
            (vec![], "it has no field `value`"),
            (
                vec![("event", EVENT), ("key", KEY), ("value", "0")],
                "`value` is not an integer",
            ),
            (
                vec![
                    ("event", EVENT),
                    ("key", KEY),
                    ("value", "9223372036854775808"),
                ],
                "2^63",
            ),
            (
                vec![("event", EVENT), ("key", "x"), ("value", "1")],
                "`key` is not a UUID",
            ),
            (vec![("key", KEY), ("value", "1")], "no field `event`"),
        ] {
            let reject = parse(&message(&fields)).unwrap_err();
            assert!(
                reject.reason.contains(reason),
                "{fields:?}: {}",
                reject.reason
            );
        }
        let reject = parse(&message(&[("a", "b\"c")])).unwrap_err();
        assert_eq!(reject.content, r#"{"a":"b\"c"}"#);
    }
}
