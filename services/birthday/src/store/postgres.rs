//! Dates of birth in a table of PostgreSQL.

use futures_util::future::{BoxFuture, FutureExt};
use jiff::civil::Date;
use service_kit::postgres::{Migration, Migrations, Postgres};

use super::{Birthdays, StoreError};
use crate::user::User;

/// The schema of the service.
pub(crate) const MIGRATIONS: Migrations = Migrations {
    // The letters "birthday" as a number: unlike any other schema's.
    lock: i64::from_be_bytes(*b"birthday"),
    steps: &[Migration {
        version: 1,
        name: "create-birthdays",
        sql: "CREATE TABLE birthdays (
                  username text PRIMARY KEY,
                  date_of_birth date NOT NULL,
                  updated_at timestamptz NOT NULL DEFAULT now()
              )",
    }],
};

const UPSERT: &str = "INSERT INTO birthdays (username, date_of_birth) VALUES ($1, $2)
     ON CONFLICT (username)
     DO UPDATE SET date_of_birth = EXCLUDED.date_of_birth, updated_at = now()";
const SELECT: &str = "SELECT date_of_birth FROM birthdays WHERE username = $1";

/// Dates of birth in a database. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Database {
    postgres: Postgres,
}

impl Database {
    /// Those in the database of `postgres`.
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    async fn upsert(&self, user: &User, born: Date) -> Result<(), StoreError> {
        let stored = self.postgres.run(async |client| {
            let upsert = client.prepare_cached(UPSERT).await?;
            client.execute(&upsert, &[&user.as_str(), &born]).await
        });
        stored.await.map(drop).map_err(StoreError::because)
    }

    async fn select(&self, user: &User) -> Result<Option<Date>, StoreError> {
        let found = self.postgres.run(async |client| {
            let select = client.prepare_cached(SELECT).await?;
            let row = client.query_opt(&select, &[&user.as_str()]).await?;
            row.map(|row| row.try_get(0)).transpose()
        });
        found.await.map_err(StoreError::because)
    }
}

impl Birthdays for Database {
    fn put<'a>(&'a self, user: &'a User, born: Date) -> BoxFuture<'a, Result<(), StoreError>> {
        self.upsert(user, born).boxed()
    }

    fn get<'a>(&'a self, user: &'a User) -> BoxFuture<'a, Result<Option<Date>, StoreError>> {
        self.select(user).boxed()
    }
}
