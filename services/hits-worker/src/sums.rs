//! The sums in PostgreSQL, with the events that are in them.

use std::collections::HashSet;

use deadpool_postgres::PoolError;
use service_kit::postgres::{Migration, Migrations, Postgres};
use uuid::Uuid;

use crate::batch;
use crate::message::Hit;

/// The schema of the service.
pub(crate) const MIGRATIONS: Migrations = Migrations {
    lock: i64::from_be_bytes(*b"hits-sum"),
    steps: &[Migration {
        version: 1,
        name: "create-hits",
        // numeric: a sum of 64-bit increments may need more than 64 bits.
        sql: "CREATE TABLE hits (
                  key uuid PRIMARY KEY,
                  total numeric(38, 0) NOT NULL,
                  updated_at timestamptz NOT NULL DEFAULT now()
              );
              CREATE TABLE hits_events (
                  event uuid PRIMARY KEY,
                  applied_at timestamptz NOT NULL DEFAULT now()
              );
              CREATE INDEX hits_events_applied_at ON hits_events (applied_at);",
    }],
};

/// The sums of all keys.
#[derive(Debug)]
pub(crate) struct Sums {
    postgres: Postgres,
}

/// Why increments were not applied, or nobody knows whether they were.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SumsError {
    #[error("cannot connect to PostgreSQL")]
    Connect(#[from] PoolError),
    #[error("cannot write to PostgreSQL")]
    Query(#[from] tokio_postgres::Error),
}

impl Sums {
    pub(crate) fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    /// Adds the increments that are not in the sums yet, in one transaction,
    /// and gives the number of those that were. May be repeated after any
    /// error: what was committed is known by its events.
    ///
    /// Events and keys are written in their order, so that two workers cannot
    /// wait for each other.
    pub(crate) async fn apply(&self, hits: &[Hit]) -> Result<usize, SumsError> {
        let events: Vec<Uuid> = hits.iter().map(|hit| hit.event).collect();
        let mut client = self.postgres.client().await?;
        let transaction = client.transaction().await?;
        let insert = transaction
            .prepare_cached(
                "INSERT INTO hits_events (event)
                 SELECT event FROM UNNEST($1::uuid[]) AS t(event) ORDER BY event
                 ON CONFLICT DO NOTHING RETURNING event",
            )
            .await?;
        let rows = transaction.query(&insert, &[&events]).await?;
        let fresh: Result<HashSet<Uuid>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        let fresh = fresh?;

        let (keys, sums): (Vec<Uuid>, Vec<String>) = batch::sums(hits, &fresh)
            .into_iter()
            .map(|(key, sum)| (key, sum.to_string()))
            .unzip();
        let upsert = transaction
            .prepare_cached(
                "INSERT INTO hits (key, total)
                 SELECT key, n::numeric FROM UNNEST($1::uuid[], $2::text[]) AS t(key, n)
                 ORDER BY key
                 ON CONFLICT (key) DO UPDATE
                 SET total = hits.total + EXCLUDED.total, updated_at = now()",
            )
            .await?;
        transaction.execute(&upsert, &[&keys, &sums]).await?;
        transaction.commit().await?;
        Ok(hits.len() - fresh.len())
    }

    /// Forgets events that were applied more than a week ago. Until then an
    /// increment that is delivered again is known; the stream delivers one
    /// again within seconds unless nothing has run for that long.
    pub(crate) async fn forget_old_events(&self) -> Result<u64, SumsError> {
        let client = self.postgres.client().await?;
        let forgotten = client
            .execute(
                "DELETE FROM hits_events WHERE event IN (
                     SELECT event FROM hits_events
                     WHERE applied_at < now() - interval '7 days'
                     LIMIT 10000 FOR UPDATE SKIP LOCKED
                 )",
                &[],
            )
            .await?;
        Ok(forgotten)
    }
}

impl SumsError {
    /// Whether PostgreSQL refused the data itself (out of range, a violated
    /// constraint), so that repeating it is of no use.
    pub(crate) fn is_about_the_data(&self) -> bool {
        let Self::Query(error) = self else {
            return false;
        };
        error.code().is_some_and(|state| {
            ["22", "23"]
                .iter()
                .any(|class| state.code().starts_with(class))
        })
    }
}
