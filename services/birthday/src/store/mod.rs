//! Where the dates of birth are: one interface, a server behind it or this process's memory.

mod memory;
mod postgres;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::civil::Date;

use crate::user::User;

pub use memory::Memory;
pub use postgres::Database;
pub(crate) use postgres::MIGRATIONS;

/// Dates of birth by user.
pub trait Birthdays: fmt::Debug + Send + Sync {
    /// Stores a date in place of the one before.
    ///
    /// # Errors
    /// When the store does not answer: the date may be stored or not, and storing it again does no harm.
    fn put<'a>(&'a self, user: &'a User, born: Date) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The date of a user; none for one who was never stored.
    ///
    /// # Errors
    /// When the store does not answer.
    fn get<'a>(&'a self, user: &'a User) -> BoxFuture<'a, Result<Option<Date>, StoreError>>;
}

/// The store that a service works with.
pub type Store = Arc<dyn Birthdays>;

/// Why the store has no answer.
#[derive(Debug, thiserror::Error)]
#[error("the store does not answer")]
pub struct StoreError(#[source] Box<dyn Error + Send + Sync>);

impl StoreError {
    fn because(cause: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(cause))
    }
}
