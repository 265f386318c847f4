//! The sums in PostgreSQL.

use std::collections::HashSet;
use std::error::Error;

use futures_util::future::{BoxFuture, FutureExt};
use service_kit::Lifecycle;
use service_kit::postgres::{Migration, Migrations, Postgres, QueryError};
use uuid::Uuid;

use super::{Ages, Sums, SumsError};
use crate::batch;
use crate::increment::Increment;

/// The schema of the service.
const MIGRATIONS: Migrations = Migrations {
    lock: i64::from_be_bytes(*b"hits-sum"),
    steps: &[
        Migration {
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
        },
        Migration {
            version: 2,
            name: "index-events-by-kind",
            // The version of a UUID; `is_keyed` tells the same.
            sql: "CREATE INDEX hits_events_keyed ON hits_events (applied_at)
                  WHERE get_byte(uuid_send(event), 6) >> 4 <> 7;
              CREATE INDEX hits_events_other ON hits_events (applied_at)
                  WHERE get_byte(uuid_send(event), 6) >> 4 = 7;
              DROP INDEX hits_events_applied_at;",
        },
    ],
};

/// Gives the events that were not there. In their order, as the keys below: two workers that have the same of them
/// cannot wait for each other.
const REMEMBER: &str = "INSERT INTO hits_events (event)
     SELECT event FROM UNNEST($1::uuid[]) AS t(event) ORDER BY event
     ON CONFLICT DO NOTHING RETURNING event";
const UPSERT: &str = "INSERT INTO hits (key, total)
     SELECT key, n::numeric FROM UNNEST($1::uuid[], $2::text[]) AS t(key, n) ORDER BY key
     ON CONFLICT (key) DO UPDATE SET total = hits.total + EXCLUDED.total, updated_at = now()";
const SELECT: &str = "SELECT total::text FROM hits WHERE key = $1";
/// Each goes by its index.
const FORGET_KEYED: &str = "DELETE FROM hits_events WHERE event IN (
         SELECT event FROM hits_events WHERE get_byte(uuid_send(event), 6) >> 4 <> 7
             AND applied_at < now() - make_interval(secs => $1)
         LIMIT 10000 FOR UPDATE SKIP LOCKED
     )";
const FORGET_OTHER: &str = "DELETE FROM hits_events WHERE event IN (
         SELECT event FROM hits_events WHERE get_byte(uuid_send(event), 6) >> 4 = 7
             AND applied_at < now() - make_interval(secs => $1)
         LIMIT 10000 FOR UPDATE SKIP LOCKED
     )";

/// The sums in a database. Clones share the connections.
#[derive(Clone, Debug)]
pub struct PostgresSums {
    postgres: Postgres,
}

impl PostgresSums {
    /// Those in the database of `postgres`.
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    /// Brings the schema up to date in the background.
    pub fn migrate_in_background(&self, lifecycle: &Lifecycle) {
        self.postgres.migrate_in_background(lifecycle, MIGRATIONS);
    }

    /// One transaction: the events of the increments, and the sums of those that were new.
    async fn add(&self, increments: &[Increment]) -> Result<usize, SumsError> {
        let events: Vec<Uuid> = increments.iter().map(|increment| increment.event).collect();
        let added = self.postgres.run(async |client| {
            let transaction = client.transaction().await?;
            let remember = transaction.prepare_cached(REMEMBER).await?;
            let rows = transaction.query(&remember, &[&events]).await?;
            let fresh: Result<HashSet<Uuid>, _> = rows.iter().map(|row| row.try_get(0)).collect();
            let fresh = fresh?;
            let (keys, sums): (Vec<Uuid>, Vec<String>) = batch::sums(increments, &fresh)
                .into_iter()
                .map(|(key, sum)| (key, sum.to_string()))
                .unzip();
            let upsert = transaction.prepare_cached(UPSERT).await?;
            transaction.execute(&upsert, &[&keys, &sums]).await?;
            transaction.commit().await?;
            Ok(increments.len() - fresh.len())
        });
        Ok(added.await?)
    }

    async fn select(&self, key: Uuid) -> Result<Option<u128>, SumsError> {
        let found = self.postgres.run(async |client| {
            let select = client.prepare_cached(SELECT).await?;
            let row = client.query_opt(&select, &[&key]).await?;
            row.map(|row| row.try_get::<_, String>(0)).transpose()
        });
        let total = found.await?.map(|total| total.parse());
        total
            .transpose()
            .map_err(|error| SumsError::Away(Box::new(error) as Box<_>))
    }

    async fn forget_some(&self, ages: Ages) -> Result<u64, SumsError> {
        let forgotten = self.postgres.run(async |client| {
            let mut forgotten = 0;
            for (statement, age) in [(FORGET_KEYED, ages.keyed), (FORGET_OTHER, ages.other)] {
                let statement = client.prepare_cached(statement).await?;
                forgotten += client.execute(&statement, &[&age.as_secs_f64()]).await?;
            }
            Ok(forgotten)
        });
        Ok(forgotten.await?)
    }
}

impl Sums for PostgresSums {
    fn apply<'a>(&'a self, increments: &'a [Increment]) -> BoxFuture<'a, Result<usize, SumsError>> {
        self.add(increments).boxed()
    }

    fn get(&self, key: Uuid) -> BoxFuture<'_, Result<Option<u128>, SumsError>> {
        self.select(key).boxed()
    }

    fn forget(&self, ages: Ages) -> BoxFuture<'_, Result<u64, SumsError>> {
        self.forget_some(ages).boxed()
    }
}

impl From<QueryError> for SumsError {
    fn from(error: QueryError) -> Self {
        let about_the_data = matches!(&error, QueryError::Query(cause) if is_about_the_data(cause));
        let cause: Box<dyn Error + Send + Sync> = Box::new(error);
        match about_the_data {
            true => Self::Refused(cause),
            false => Self::Away(cause),
        }
    }
}

/// Whether PostgreSQL refused the data itself: classes 22, such as out of range, and 23, a violated constraint.
fn is_about_the_data(error: &tokio_postgres::Error) -> bool {
    let class = error.code().map(|state| &state.code()[..2]);
    matches!(class, Some("22" | "23"))
}
