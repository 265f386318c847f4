//! PostgreSQL: a pool that survives the server being away, and migrations that
//! many replicas may run at once.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use deadpool_postgres::{
    BuildError, Client, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime,
};
use tokio_postgres::NoTls;
use tokio_postgres::config::Config;

use crate::config::{Variable, parsed};
use crate::lifecycle::Lifecycle;
use crate::problem::{Problem, chain};

/// Longer than a reconnect takes, much shorter than a request may.
const WAIT: Duration = Duration::from_secs(2);
/// How often a database that is away is tried again, at most.
const MAX_DELAY: Duration = Duration::from_secs(3);

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    schema: Arc<Mutex<Schema>>,
}

/// One step of a schema. Steps are never edited once released, only added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Counts up from 1 without gaps.
    pub version: i32,
    /// What it does, in kebab case; kept in the database to notice edits.
    pub name: &'static str,
    /// One or more statements. They run in a transaction.
    pub sql: &'static str,
}

/// The schema of one database: its steps, and the lock that makes replicas
/// take turns.
#[derive(Clone, Copy, Debug)]
pub struct Migrations {
    /// Key of the advisory lock; any number that no other schema in the same
    /// database uses.
    pub lock: i64,
    /// In order of their versions.
    pub steps: &'static [Migration],
}

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection could be had.
    #[error("cannot connect to PostgreSQL")]
    Connect(#[from] PoolError),
    /// The database refused a statement.
    #[error("cannot migrate the schema")]
    Query(#[from] tokio_postgres::Error),
    /// The database has had another step under that version.
    #[error("migration {version} is `{ours}` here and `{theirs}` in the database")]
    Edited {
        /// The version in question.
        version: i32,
        /// Its name in this program.
        ours: &'static str,
        /// Its name in the database.
        theirs: String,
    },
}

/// Whether the schema is known to be there.
#[derive(Debug)]
enum Schema {
    /// This service does not own it.
    NotOurs,
    Pending(String),
    Ready,
}

/// `DATABASE_URL`: where PostgreSQL is.
pub const DATABASE_URL: Variable<Config> = Variable::secret(
    "DATABASE_URL",
    "a URL such as postgres://user:password@host:5432/database",
    url,
);

/// `DATABASE_CONNECTIONS`: the size of the pool of one replica.
pub const DATABASE_CONNECTIONS: Variable<usize> =
    Variable::new("DATABASE_CONNECTIONS", "a number from 1 to 100", |text| {
        parsed(text).filter(|number| (1..=100).contains(number))
    });

/// Reads a `DATABASE_URL`; for use in a [`Variable`]. The
/// host, user and database must be in it, so that nothing is guessed.
pub fn url(text: &str) -> Option<Config> {
    let config: Config = text.parse().ok()?;
    let complete = !config.get_hosts().is_empty()
        && config.get_user().is_some()
        && config.get_dbname().is_some();
    complete.then_some(config)
}

impl Postgres {
    /// A pool that connects when a connection is first asked for.
    ///
    /// # Errors
    /// When the pool refuses its own settings.
    pub fn new(
        mut config: Config,
        application: &str,
        connections: usize,
    ) -> Result<Self, BuildError> {
        config
            .application_name(application)
            .connect_timeout(WAIT)
            // A peer that vanished without a word is noticed after this long.
            .tcp_user_timeout(Duration::from_secs(5));
        let manager = Manager::from_config(
            config,
            NoTls,
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(connections)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(WAIT))
            .recycle_timeout(Some(WAIT))
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Self {
            pool,
            schema: Arc::new(Mutex::new(Schema::NotOurs)),
        })
    }

    /// A connection from the pool.
    ///
    /// # Errors
    /// When none could be had within two seconds.
    pub async fn client(&self) -> Result<Client, PoolError> {
        self.pool.get().await
    }

    /// Brings the schema up to date in the background, for as long as it takes
    /// the database to come; until then [`ready`](Self::ready) says why not.
    pub fn migrate_in_background(&self, lifecycle: &Lifecycle, migrations: Migrations) {
        self.set_schema(Schema::Pending("migrations have not run yet".to_owned()));
        let (postgres, stopping) = (self.clone(), lifecycle.stopping());
        lifecycle.spawn(async move {
            tokio::select! {
                () = postgres.migrate_until_done(migrations) => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Brings the schema up to date, once.
    ///
    /// # Errors
    /// When the database is away or refuses; nothing is half done then.
    pub async fn migrate(&self, migrations: Migrations) -> Result<(), MigrateError> {
        let mut client = self.client().await?;
        migrate(&mut client, migrations).await?;
        self.set_schema(Schema::Ready);
        Ok(())
    }

    /// Whether queries can be answered; for
    /// [`Kit::ready_when`](crate::Kit::ready_when).
    ///
    /// # Errors
    /// The reason why not.
    pub async fn ready(self) -> Result<(), String> {
        if let Schema::Pending(reason) = &*self.schema() {
            return Err(reason.clone());
        }
        let client = self.client().await.map_err(|error| chain(&error))?;
        let answer = client.simple_query("SELECT 1").await;
        answer.map(drop).map_err(|error| chain(&error))
    }

    async fn migrate_until_done(&self, migrations: Migrations) {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(MAX_DELAY)
            .without_max_times()
            .with_jitter();
        let attempt = || self.migrate(migrations);
        let done = attempt.retry(backoff).notify(|error, delay| {
            let reason = chain(error);
            let retry_ms = delay.as_millis() as u64;
            tracing::warn!(error = reason, retry_ms, "migrations did not run");
            self.set_schema(Schema::Pending(reason));
        });
        if done.await.is_ok() {
            tracing::info!("schema is up to date");
        }
    }

    fn schema(&self) -> std::sync::MutexGuard<'_, Schema> {
        self.schema.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_schema(&self, schema: Schema) {
        *self.schema() = schema;
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

/// The answer for a database that could not be asked, or could not answer.
pub fn unavailable(error: &(dyn Error + 'static)) -> Problem {
    tracing::warn!(error = chain(error), "PostgreSQL failed");
    Problem::unavailable(
        "database-unavailable",
        "the database does not answer just now",
    )
}

/// The lock is held until the transaction ends, also when the connection dies,
/// so a replica that is killed midway leaves neither a lock nor half a schema.
async fn migrate(client: &mut Client, migrations: Migrations) -> Result<(), MigrateError> {
    let transaction = client.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&migrations.lock])
        .await?;
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                 version integer PRIMARY KEY,
                 name text NOT NULL,
                 applied_at timestamptz NOT NULL DEFAULT now()
             )",
        )
        .await?;
    for step in migrations.steps {
        let applied = transaction
            .query_opt(
                "SELECT name FROM schema_migrations WHERE version = $1",
                &[&step.version],
            )
            .await?;
        if let Some(row) = applied {
            let theirs: String = row.try_get(0)?;
            if theirs != step.name {
                return Err(MigrateError::Edited {
                    version: step.version,
                    ours: step.name,
                    theirs,
                });
            }
            continue;
        }
        transaction.batch_execute(step.sql).await?;
        transaction
            .execute(
                "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)",
                &[&step.version, &step.name],
            )
            .await?;
        tracing::info!(version = step.version, name = step.name, "migrated");
    }
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_complete() {
        assert!(url("postgres://u:p%40ss@db:5432/hits").is_some());
        for bad in [
            "",
            "db",
            "postgres://db",
            "postgres://u@/hits",
            "http://u@db/x",
        ] {
            assert!(url(bad).is_none(), "{bad}");
        }
    }
}
