//! An increment, and how it is written on the stream: the contract between `hits-api` and `hits-worker`.

use std::collections::BTreeMap;

use uuid::Uuid;

const EVENT: &str = "event";
const KEY: &str = "key";
const VALUE: &str = "value";
const REQUEST_ID: &str = "request_id";

/// The longest request id that the services take.
const LONGEST_REQUEST_ID: usize = 128;

/// The fields of a message, by name. Bytes that are no text were replaced.
pub type Fields = BTreeMap<String, String>;

/// One increment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Increment {
    /// Names this one increment for ever: whoever sums it up does so once. Of version 7 where nobody ever repeats it,
    /// see [`is_keyed`].
    pub event: Uuid,
    /// What is counted.
    pub key: Uuid,
    /// How much is added, at least 1.
    pub value: i64,
    /// The request that brought it; none in messages from before there was one.
    pub request_id: Option<String>,
}

/// Why a message is no increment, and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A field is not there.
    #[error("it has no field `{0}`")]
    Missing(&'static str),
    /// A field holds something else.
    #[error("its field `{0}` is not a UUID")]
    NoUuid(&'static str),
    /// The value is no number, or not in its range.
    #[error("its field `value` is not an integer from 1 to 2^63 - 1")]
    Value,
}

impl Increment {
    /// Writes it.
    pub fn fields(&self) -> Fields {
        let mut fields = Fields::from([
            (EVENT.to_owned(), self.event.to_string()),
            (KEY.to_owned(), self.key.to_string()),
            (VALUE.to_owned(), self.value.to_string()),
        ]);
        if let Some(id) = &self.request_id {
            fields.insert(REQUEST_ID.to_owned(), id.clone());
        }
        fields
    }

    /// Reads it, with suspicion. Fields that are not known are left alone.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(fields: &Fields) -> Result<Self, Fault> {
        let text = |name| fields.get(name).ok_or(Fault::Missing(name));
        let uuid = |name| text(name)?.parse().map_err(|_| Fault::NoUuid(name));
        let value = text(VALUE)?.parse().ok().filter(|value| *value >= 1);
        Ok(Self {
            event: uuid(EVENT)?,
            key: uuid(KEY)?,
            value: value.ok_or(Fault::Value)?,
            request_id: request_id(fields),
        })
    }
}

/// Whether a client may repeat the increment of that event, with its `Idempotency-Key`. An event of UUID version 7 was
/// made for one request, and comes again only while its message is on the stream.
pub fn is_keyed(event: Uuid) -> bool {
    event.get_version_num() != 7
}

/// The request id of a message, also of one that is no increment. What is long or odd would end up in logs.
pub(crate) fn request_id(fields: &Fields) -> Option<String> {
    let usable = |id: &&String| {
        (1..=LONGEST_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    fields.get(REQUEST_ID).filter(usable).cloned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A_KEY: &str = "0b9d4c5e-7a51-4f0e-9f0f-5d2f3a1c7e55";
    const AN_EVENT: &str = "0198c2a0-0000-7000-8000-000000000001";

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_message_from_before_request_ids_is_read() {
        let old = fields(&[("event", AN_EVENT), ("key", A_KEY), ("value", "7")]);
        let increment = Increment::parse(&old).unwrap();
        assert_eq!(increment.key.to_string(), A_KEY);
        assert_eq!((increment.value, increment.request_id), (7, None));
    }

    #[test]
    fn each_fault_is_named() {
        for (event, key, value, fault) in [
            (None, Some(A_KEY), Some("1"), Fault::Missing("event")),
            (Some(AN_EVENT), None, Some("1"), Fault::Missing("key")),
            (Some(AN_EVENT), Some(A_KEY), None, Fault::Missing("value")),
            (Some("x"), Some(A_KEY), Some("1"), Fault::NoUuid("event")),
            (Some(AN_EVENT), Some("x"), Some("1"), Fault::NoUuid("key")),
            (Some(AN_EVENT), Some(A_KEY), Some("0"), Fault::Value),
            (Some(AN_EVENT), Some(A_KEY), Some("-1"), Fault::Value),
            (Some(AN_EVENT), Some(A_KEY), Some("1.5"), Fault::Value),
            (
                Some(AN_EVENT),
                Some(A_KEY),
                Some("9223372036854775808"),
                Fault::Value,
            ),
        ] {
            let pairs = [("event", event), ("key", key), ("value", value)];
            let given: Vec<_> = pairs
                .iter()
                .filter_map(|(name, text)| Some((*name, (*text)?)))
                .collect();
            assert_eq!(Increment::parse(&fields(&given)), Err(fault), "{given:?}");
        }
    }

    #[test]
    fn a_request_id_that_could_harm_a_log_is_left_out() {
        for id in ["", "two words", "line\nbreak", &"x".repeat(129)] {
            assert_eq!(request_id(&fields(&[("request_id", id)])), None, "{id}");
        }
        let usable = fields(&[("request_id", "id-1")]);
        assert_eq!(request_id(&usable).as_deref(), Some("id-1"));
    }

    prop_compose! {
        fn increments()(
            event: u128, key: u128, value in 1..=i64::MAX, request_id in proptest::option::of("[!-~]{1,128}")
        ) -> Increment {
            Increment { event: Uuid::from_u128(event), key: Uuid::from_u128(key), value, request_id }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(increment in increments()) {
            prop_assert_eq!(Increment::parse(&increment.fields()), Ok(increment));
        }

        #[test]
        fn any_fields_are_read_or_refused(
            fields in proptest::collection::btree_map("event|key|value|request_id|\\PC*", any::<String>(), 0..6)
        ) {
            if let Ok(increment) = Increment::parse(&fields) {
                prop_assert!(increment.value >= 1);
            }
        }
    }
}
