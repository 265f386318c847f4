//! What is gathered between two writes. Pure.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use uuid::Uuid;

use crate::increment::{self, Fields, Increment};
use crate::stream::{DeadLetter, Delivery, Message};

/// Messages that wait to be applied or given up.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) part: Part,
    pub(crate) dead: Vec<DeadLetter>,
    /// When the oldest of them was put on the stream.
    oldest: Option<Instant>,
}

/// Increments that are applied together, and the messages they came in.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// As many as there are increments, in their order.
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) increments: Vec<Increment>,
}

impl Batch {
    /// Adds a message. One that is in it already (the stream may deliver it again) is known by its event later.
    pub(crate) fn add(&mut self, message: Message) {
        let oldest = self.oldest.unwrap_or(message.added);
        self.oldest = Some(oldest.min(message.added));
        let Message {
            delivery, fields, ..
        } = message;
        match Increment::parse(&fields) {
            Ok(increment) => {
                self.part.deliveries.push(delivery);
                self.part.increments.push(increment);
            }
            Err(fault) => self
                .dead
                .push(dead_letter(delivery, fault.to_string(), &fields)),
        }
    }

    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.oldest
    }

    pub(crate) fn len(&self) -> usize {
        self.part.len() + self.dead.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Part {
    pub(crate) fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// The two halves of it.
    pub(crate) fn halve(mut self) -> [Self; 2] {
        let half = self.len() / 2;
        let rest = Self {
            deliveries: self.deliveries.split_off(half),
            increments: self.increments.split_off(half),
        };
        [self, rest]
    }

    /// Gives it up, for a reason that only showed when it was applied.
    pub(crate) fn give_up(self, reason: &str) -> impl Iterator<Item = DeadLetter> {
        let messages = self.deliveries.into_iter().zip(self.increments);
        messages.map(move |(delivery, increment)| {
            dead_letter(delivery, reason.to_owned(), &increment.fields())
        })
    }
}

/// The sum of each key over the increments whose event is in `fresh`, in the
/// order of the keys. An event that comes twice counts once.
pub(crate) fn sums(increments: &[Increment], fresh: &HashSet<Uuid>) -> BTreeMap<Uuid, i128> {
    let mut sums = BTreeMap::new();
    let mut counted = HashSet::new();
    for increment in increments {
        if fresh.contains(&increment.event) && counted.insert(increment.event) {
            *sums.entry(increment.key).or_default() += i128::from(increment.value);
        }
    }
    sums
}

fn dead_letter(delivery: Delivery, reason: String, fields: &Fields) -> DeadLetter {
    DeadLetter {
        delivery,
        reason,
        content: serde_json::to_string(fields).expect("a map of texts is JSON"),
        request_id: increment::request_id(fields),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn increment(event: u128, key: u128, value: i64) -> Increment {
        Increment {
            event: Uuid::from_u128(event),
            key: Uuid::from_u128(key),
            value,
            request_id: None,
        }
    }

    fn message(id: &str, fields: Fields) -> Message {
        let added = Instant::now();
        let delivery = Delivery {
            consumer: "test".into(),
            id: id.to_owned(),
        };
        Message {
            delivery,
            added,
            fields,
        }
    }

    #[test]
    fn sums_fresh_events_once() {
        let increments = [
            increment(1, 7, 10),
            increment(2, 7, 5),
            increment(2, 7, 5),
            increment(3, 8, 1),
            increment(4, 8, 100),
        ];
        let fresh = [1, 2, 3].map(Uuid::from_u128).into();
        let expected = [(Uuid::from_u128(7), 15), (Uuid::from_u128(8), 1)];
        assert_eq!(sums(&increments, &fresh), BTreeMap::from(expected));
    }

    #[test]
    fn sums_do_not_overflow() {
        let increments = [increment(1, 7, i64::MAX), increment(2, 7, i64::MAX)];
        let fresh = [1, 2].map(Uuid::from_u128).into();
        assert_eq!(
            sums(&increments, &fresh)[&Uuid::from_u128(7)],
            18_446_744_073_709_551_614
        );
    }

    #[test]
    fn it_is_as_old_as_the_oldest_in_it() {
        let now = Instant::now();
        let mut batch = Batch::default();
        for (id, age) in [("1-0", 2), ("2-0", 5), ("3-0", 1)] {
            let added = now - Duration::from_secs(age);
            batch.add(Message {
                added,
                ..message(id, increment(1, 1, 1).fields())
            });
        }
        assert_eq!(batch.oldest(), Some(now - Duration::from_secs(5)));
    }

    #[test]
    fn a_dead_letter_has_the_message_as_it_was_and_its_request() {
        let pairs = [("a", "b\"c"), ("request_id", "id-1")];
        let fields = pairs.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let mut batch = Batch::default();
        batch.add(message("1-0", Fields::from(fields)));
        let letter = &batch.dead[0];
        assert_eq!(letter.content, r#"{"a":"b\"c","request_id":"id-1"}"#);
        assert_eq!(letter.request_id.as_deref(), Some("id-1"));
        assert_eq!(letter.reason, "it has no field `value`");
    }

    proptest! {
        #[test]
        fn each_sum_is_the_naive_one(
            hits in proptest::collection::vec((0..20_u128, 0..5_u128, 1..=i64::MAX), 0..60),
            fresh in proptest::collection::hash_set(0..20_u128, 0..20),
        ) {
            let increments: Vec<Increment> =
                hits.iter().map(|(event, key, value)| increment(*event, *key, *value)).collect();
            let fresh: HashSet<Uuid> = fresh.into_iter().map(Uuid::from_u128).collect();
            let sums = sums(&increments, &fresh);
            for key in (0..5).map(Uuid::from_u128) {
                // Of those with the same event the first counts, whatever its key.
                let counts = |at: &usize| {
                    let event = increments[*at].event;
                    increments[*at].key == key
                        && fresh.contains(&event)
                        && !increments[..*at].iter().any(|before| before.event == event)
                };
                let naive: i128 = (0..increments.len())
                    .filter(counts)
                    .map(|at| i128::from(increments[at].value))
                    .sum();
                prop_assert_eq!(sums.get(&key).copied().unwrap_or(0), naive);
            }
        }

        #[test]
        fn halves_are_the_whole(number in 2..50_usize) {
            let mut batch = Batch::default();
            for n in 0..number {
                batch.add(message(&format!("{n}-0"), increment(n as u128, 1, 1).fields()));
            }
            let whole = batch.part.deliveries.clone();
            let [first, second] = batch.part.halve();
            prop_assert!(first.len() < number && second.len() < number);
            prop_assert_eq!(first.deliveries.len(), first.increments.len());
            prop_assert_eq!([first.deliveries, second.deliveries].concat(), whole);
        }
    }
}
