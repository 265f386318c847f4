//! Messages as Redis sends them. Anything may be in one: names and texts are bytes, and who wrote it is not known.

use redis::Value;

use crate::increment::Fields;

/// A message: its id and its fields.
pub type Entry = (String, Fields);

/// The messages of an answer of the shape of `XRANGE`. Those that were deleted are left out.
pub fn entries(answer: Value) -> Vec<Entry> {
    list(answer).into_iter().filter_map(entry).collect()
}

/// The messages of an answer of `XREADGROUP` for one stream.
pub fn read_entries(answer: Value) -> Vec<Entry> {
    let stream = list(answer).pop().map(list).unwrap_or_default();
    stream.into_iter().nth(1).map(entries).unwrap_or_default()
}

fn entry(value: Value) -> Option<Entry> {
    let mut parts = list(value).into_iter();
    let (Value::BulkString(id), fields @ Value::Array(_)) = (parts.next()?, parts.next()?) else {
        return None;
    };
    let mut texts = list(fields).into_iter().map(text);
    let mut fields = Fields::new();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        fields.insert(name, value);
    }
    Some((String::from_utf8(id).ok()?, fields))
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

fn text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::SimpleString(text) => text,
        Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn message(id: &str, fields: Value) -> Value {
        Value::Array(vec![bulk(id), fields])
    }

    #[test]
    fn reads_what_is_there_and_leaves_out_what_was_deleted() {
        let fields = Value::Array(vec![bulk("key"), bulk("a"), bulk("value"), bulk("1")]);
        let messages = Value::Array(vec![message("1-0", fields), message("2-0", Value::Nil)]);
        let answer = Value::Array(vec![Value::Array(vec![bulk("hits"), messages])]);
        let expected = [("key", "a"), ("value", "1")];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(
            read_entries(answer),
            [("1-0".to_owned(), Fields::from(expected))]
        );
        assert_eq!(read_entries(Value::Nil), []);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let odd = || Value::BulkString(vec![b'k', 0xff]);
        let answer = Value::Array(vec![message("1-0", Value::Array(vec![odd(), odd()]))]);
        let fields = Fields::from([("k\u{fffd}".to_owned(), "k\u{fffd}".to_owned())]);
        assert_eq!(entries(answer), [("1-0".to_owned(), fields)]);
    }

    /// Answers of any shape.
    fn answers() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            Just(Value::Okay),
            any::<i64>().prop_map(Value::Int),
            any::<String>().prop_map(Value::SimpleString),
            any::<Vec<u8>>().prop_map(Value::BulkString),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            proptest::collection::vec(inner, 0..6).prop_map(Value::Array)
        })
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in answers()) {
            entries(answer.clone());
            read_entries(answer);
        }

        #[test]
        fn any_bytes_are_a_field(pairs in proptest::collection::vec(any::<(Vec<u8>, Vec<u8>)>(), 0..5)) {
            let flat = pairs.iter().flat_map(|(name, text)| [name.clone(), text.clone()]);
            let fields = Value::Array(flat.map(Value::BulkString).collect());
            let entries = entries(Value::Array(vec![message("1-0", fields)]));
            prop_assert_eq!(entries.len(), 1);
            prop_assert!(entries[0].1.len() <= pairs.len());
        }
    }
}
