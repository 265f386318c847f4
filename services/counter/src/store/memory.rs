//! Counters in the memory of this process: gone with it, for trying things out.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{self, BoxFuture, FutureExt};

use super::{Counters, Page, StoreError};
use crate::name::CounterName;

/// Counters in memory.
#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<String, i64>>);

impl Counters for Memory {
    fn add<'a>(&'a self, name: &'a CounterName, by: i64) -> BoxFuture<'a, Result<i64, StoreError>> {
        future::ready(self.count(name, by)).boxed()
    }

    fn get<'a>(&'a self, name: &'a CounterName) -> BoxFuture<'a, Result<Option<i64>, StoreError>> {
        let value = self.values().get(name.as_str()).copied();
        future::ready(Ok(value)).boxed()
    }

    fn list(&self, page: Page) -> BoxFuture<'_, Result<BTreeMap<String, i64>, StoreError>> {
        let start = page.after.map_or(Bound::Unbounded, Bound::Excluded);
        let values = self.values();
        let found = values.range((start, Bound::Unbounded)).take(page.limit);
        let found = found.map(|(name, value)| (name.clone(), *value));
        future::ready(Ok(found.collect())).boxed()
    }

    fn delete<'a>(&'a self, name: &'a CounterName) -> BoxFuture<'a, Result<(), StoreError>> {
        self.values().remove(name.as_str());
        future::ready(Ok(())).boxed()
    }
}

impl Memory {
    fn count(&self, name: &CounterName, by: i64) -> Result<i64, StoreError> {
        let mut values = self.values();
        let value = values.get(name.as_str()).copied().unwrap_or(0);
        let value = value.checked_add(by).ok_or(StoreError::Overflow)?;
        values.insert(name.as_str().to_owned(), value);
        Ok(value)
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<String, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
