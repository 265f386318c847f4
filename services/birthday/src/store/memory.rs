//! Dates of birth in the memory of this process: gone with it, for trying things out.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{self, BoxFuture, FutureExt};
use jiff::civil::Date;

use super::{Birthdays, StoreError};
use crate::user::User;

/// Dates of birth in memory.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<User, Date>>);

impl Birthdays for Memory {
    fn put<'a>(&'a self, user: &'a User, born: Date) -> BoxFuture<'a, Result<(), StoreError>> {
        self.dates().insert(user.clone(), born);
        future::ready(Ok(())).boxed()
    }

    fn get<'a>(&'a self, user: &'a User) -> BoxFuture<'a, Result<Option<Date>, StoreError>> {
        let born = self.dates().get(user).copied();
        future::ready(Ok(born)).boxed()
    }
}

impl Memory {
    fn dates(&self) -> MutexGuard<'_, HashMap<User, Date>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
