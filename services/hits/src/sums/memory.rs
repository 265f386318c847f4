//! Sums in the memory of this process: gone with it, for trying things out.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::future::{self, BoxFuture, FutureExt};
use uuid::Uuid;

use super::{Ages, Sums, SumsError};
use crate::batch;
use crate::increment::{Increment, is_keyed};

/// The largest sum, which is that of PostgreSQL's `numeric(38)`.
const LARGEST: u128 = 10_u128.pow(38) - 1;

/// Sums in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemorySums(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    sums: HashMap<Uuid, u128>,
    events: HashMap<Uuid, Instant>,
}

/// A sum would have more digits than PostgreSQL's.
#[derive(Debug, thiserror::Error)]
#[error("the sum of {0} would have more than 38 digits")]
struct Overflow(Uuid);

impl MemorySums {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn add(&mut self, increments: &[Increment]) -> Result<usize, SumsError> {
        let events = increments.iter().map(|increment| increment.event);
        let fresh: HashSet<Uuid> = events
            .filter(|event| !self.events.contains_key(event))
            .collect();
        let mut changed = Vec::new();
        for (key, sum) in batch::sums(increments, &fresh) {
            let before = self.sums.get(&key).copied().unwrap_or(0);
            let after = u128::try_from(sum)
                .ok()
                .and_then(|sum| before.checked_add(sum));
            let after = after.filter(|after| *after <= LARGEST);
            changed.push((
                key,
                after.ok_or_else(|| SumsError::Refused(Box::new(Overflow(key))))?,
            ));
        }
        let now = Instant::now();
        self.sums.extend(changed);
        self.events.extend(fresh.iter().map(|event| (*event, now)));
        Ok(increments.len() - fresh.len())
    }

    fn forget(&mut self, ages: Ages) -> u64 {
        let before = self.events.len();
        self.events.retain(|event, applied| {
            let age = match is_keyed(*event) {
                true => ages.keyed,
                false => ages.other,
            };
            applied.elapsed() <= age
        });
        (before - self.events.len()) as u64
    }
}

impl Sums for MemorySums {
    fn apply<'a>(&'a self, increments: &'a [Increment]) -> BoxFuture<'a, Result<usize, SumsError>> {
        future::ready(self.content().add(increments)).boxed()
    }

    fn get(&self, key: Uuid) -> BoxFuture<'_, Result<Option<u128>, SumsError>> {
        let sum = self.content().sums.get(&key).copied();
        future::ready(Ok(sum)).boxed()
    }

    fn forget(&self, ages: Ages) -> BoxFuture<'_, Result<u64, SumsError>> {
        future::ready(Ok(self.content().forget(ages))).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sum_beyond_38_digits_is_refused_and_nothing_is_added() {
        let sums = MemorySums::default();
        let [full, other] = [1, 2].map(Uuid::from_u128);
        sums.content().sums.insert(full, LARGEST);
        let increment = |event, key| Increment {
            event: Uuid::from_u128(event),
            key,
            value: 1,
            request_id: None,
        };
        let both = [increment(3, other), increment(4, full)];
        let refused = sums.apply(&both).await;
        assert!(matches!(refused, Err(SumsError::Refused(_))), "{refused:?}");
        assert_eq!(sums.get(other).await.unwrap(), None);
        assert_eq!(sums.apply(&both[..1]).await.unwrap(), 0);
    }
}
