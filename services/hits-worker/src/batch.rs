//! What is gathered between two writes. Pure.

use std::collections::{BTreeMap, HashSet};

use redis::streams::StreamId;
use uuid::Uuid;

use crate::message::{self, Hit, Reject};

/// Messages that wait to be applied or rejected.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) hits: Vec<Hit>,
    pub(crate) rejects: Vec<Reject>,
    seen: HashSet<String>,
}

impl Batch {
    /// Adds messages; one that is in it already (the stream may deliver it
    /// again) is left out.
    pub(crate) fn add(&mut self, messages: Vec<StreamId>) {
        for message in messages {
            if !self.seen.insert(message.id.clone()) {
                continue;
            }
            match message::parse(&message) {
                Ok(hit) => self.hits.push(hit),
                Err(reject) => self.rejects.push(reject),
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

/// The sum of each key over the increments whose event is in `fresh`, in the
/// order of the keys. An event that comes twice counts once.
pub(crate) fn sums(hits: &[Hit], fresh: &HashSet<Uuid>) -> BTreeMap<Uuid, i128> {
    let mut sums = BTreeMap::new();
    let mut counted = HashSet::new();
    for hit in hits {
        if fresh.contains(&hit.event) && counted.insert(hit.event) {
            *sums.entry(hit.key).or_default() += i128::from(hit.value);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(event: u128, key: u128, value: i64) -> Hit {
        Hit {
            id: format!("{event}-0"),
            event: Uuid::from_u128(event),
            key: Uuid::from_u128(key),
            value,
        }
    }

    #[test]
    fn sums_fresh_events_once() {
        let hits = [
            hit(1, 7, 10),
            hit(2, 7, 5),
            hit(2, 7, 5),
            hit(3, 8, 1),
            hit(4, 8, 100),
        ];
        let fresh = [1, 2, 3].map(Uuid::from_u128).into();
        let expected = [(Uuid::from_u128(7), 15), (Uuid::from_u128(8), 1)];
        assert_eq!(sums(&hits, &fresh), BTreeMap::from(expected));
    }

    #[test]
    fn sums_do_not_overflow() {
        let hits = [hit(1, 7, i64::MAX), hit(2, 7, i64::MAX)];
        let fresh = [1, 2].map(Uuid::from_u128).into();
        assert_eq!(
            sums(&hits, &fresh)[&Uuid::from_u128(7)],
            18_446_744_073_709_551_614
        );
    }

    #[test]
    fn a_message_that_is_delivered_twice_is_in_it_once() {
        let message = StreamId {
            id: "1-0".to_owned(),
            ..StreamId::default()
        };
        let mut batch = Batch::default();
        batch.add(vec![message.clone()]);
        batch.add(vec![message]);
        assert_eq!((batch.len(), batch.rejects.len()), (1, 1));
    }
}
