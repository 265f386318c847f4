//! Where the dates of birth are: a table of PostgreSQL.

use deadpool_postgres::PoolError;
use jiff::civil::Date;
use service_kit::postgres::{Migration, Migrations, Postgres};

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

/// Dates of birth by user. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    postgres: Postgres,
}

/// Why the store has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot connect to PostgreSQL")]
    Connect(#[from] PoolError),
    #[error("cannot query PostgreSQL")]
    Query(#[from] tokio_postgres::Error),
}

impl Store {
    /// The store in the database of `postgres`.
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    pub(crate) async fn put(&self, user: &User, born: Date) -> Result<(), StoreError> {
        let client = self.postgres.client().await?;
        let upsert = client
            .prepare_cached(
                "INSERT INTO birthdays (username, date_of_birth) VALUES ($1, $2)
                 ON CONFLICT (username)
                 DO UPDATE SET date_of_birth = EXCLUDED.date_of_birth, updated_at = now()",
            )
            .await?;
        client.execute(&upsert, &[&user.as_str(), &born]).await?;
        Ok(())
    }

    pub(crate) async fn get(&self, user: &User) -> Result<Option<Date>, StoreError> {
        let client = self.postgres.client().await?;
        let select = client
            .prepare_cached("SELECT date_of_birth FROM birthdays WHERE username = $1")
            .await?;
        let row = client.query_opt(&select, &[&user.as_str()]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
}
