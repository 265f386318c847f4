//! PostgreSQL: a pool that survives the server being away or hanging, and migrations that many replicas may run at once.

mod lent;
mod migrations;

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use deadpool_postgres::{
    BuildError, ClientWrapper, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime,
};
use tokio::time::timeout;
use tokio_postgres::NoTls;
use tokio_postgres::config::{Config, SslMode};

use crate::config::{Variable, parsed};
use crate::lifecycle::Lifecycle;
use crate::problem::{Problem, chain};

use lent::Lent;

pub use migrations::{MigrateError, Migration, Migrations};

/// Longer than a reconnect takes, much shorter than a request may.
const WAIT: Duration = Duration::from_secs(2);
/// How often a database that is away is tried again, at most.
const MAX_DELAY: Duration = Duration::from_secs(3);
/// For a statement, unless told otherwise: with the wait for a connection less than a request may take.
const STATEMENT_LIMIT: Duration = Duration::from_secs(4);
/// What an answer may take longer than a statement.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);
/// How long a transaction waits for its client, which may hang or have vanished, with what it has locked.
const IDLE_LIMIT: Duration = Duration::from_secs(5);
/// A peer that vanished without a word is noticed after this long.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    /// One connection that does not wait for requests to be done.
    probe: Pool,
    limit: Duration,
    schema: Arc<Mutex<Schema>>,
}

/// Why work on a database has no result.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No connection could be had: nothing was done.
    #[error("cannot connect to PostgreSQL")]
    Connect(#[from] PoolError),
    /// The database refused a statement, or the connection broke.
    #[error(transparent)]
    Query(#[from] tokio_postgres::Error),
    /// It may be done or not.
    #[error("no answer from PostgreSQL within {} s", .0.as_secs_f64())]
    Late(Duration),
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
    "a URL such as postgres://user:password@host:5432/database, without TLS",
    url,
);

/// `DATABASE_CONNECTIONS`: the size of the pool of one replica.
pub const DATABASE_CONNECTIONS: Variable<usize> =
    Variable::new("DATABASE_CONNECTIONS", "a number from 1 to 100", |text| {
        parsed(text).filter(|number| (1..=100).contains(number))
    });

/// Reads a `DATABASE_URL`; for use in a [`Variable`]. The host, user and database must be in it, so that nothing is
/// guessed, and no `sslmode` that asks for encryption, which is not spoken here.
pub fn url(text: &str) -> Option<Config> {
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
    {
        return None;
    }
    let config: Config = text.parse().ok()?;
    let complete = !config.get_hosts().is_empty()
        && config.get_user().is_some()
        && config.get_dbname().is_some();
    let plain = matches!(config.get_ssl_mode(), SslMode::Disable | SslMode::Prefer);
    (complete && plain).then_some(config)
}

impl Postgres {
    /// A pool that connects when a connection is first asked for. Statements have four seconds.
    ///
    /// # Errors
    /// When the pool refuses its own settings.
    pub fn new(config: Config, application: &str, connections: usize) -> Result<Self, BuildError> {
        Self::with_limit(config, application, connections, STATEMENT_LIMIT)
    }

    /// The same, for work that may take longer, or less: a statement has `limit`, and so have all those of one
    /// [`run`](Self::run), with a second more.
    ///
    /// # Errors
    /// When the pool refuses its own settings.
    pub fn with_limit(
        mut config: Config,
        application: &str,
        connections: usize,
        limit: Duration,
    ) -> Result<Self, BuildError> {
        // What the URL says of the same comes later, and counts.
        let options = format!(
            "-c statement_timeout={} -c idle_in_transaction_session_timeout={} {}",
            limit.as_millis(),
            IDLE_LIMIT.as_millis(),
            config.get_options().unwrap_or_default()
        );
        config
            .application_name(application)
            .options(options)
            .connect_timeout(WAIT)
            .tcp_user_timeout(SILENCE_LIMIT)
            .keepalives_idle(SILENCE_LIMIT)
            .keepalives_interval(SILENCE_LIMIT / 5);
        Ok(Self {
            pool: pool(config.clone(), connections)?,
            probe: pool(config, 1)?,
            limit,
            schema: Arc::new(Mutex::new(Schema::NotOurs)),
        })
    }

    /// Does `work` on a connection from the pool. One that does not answer in time, or whose caller goes away
    /// meanwhile, is closed: nobody else is to wait for it.
    ///
    /// # Errors
    /// When no connection could be had within some two seconds, for what `work` gives, and when it is not done in time.
    pub async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, QueryError> {
        let mut lent = Lent::from(&self.pool).await?;
        let limit = self.limit + ANSWER_MARGIN;
        match timeout(limit, work(lent.client())).await {
            Ok(result) => {
                lent.give_back();
                Ok(result?)
            }
            Err(_) => Err(QueryError::Late(limit)),
        }
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
        let mut lent = Lent::from(&self.pool).await?;
        let migrated = migrations::migrate(lent.client(), migrations).await;
        lent.give_back();
        migrated?;
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
        let lent = Lent::from(&self.probe).await;
        let mut lent = lent.map_err(|error| chain(&error))?;
        let answer = lent.client().simple_query("SELECT 1").await;
        lent.give_back();
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

fn pool(config: Config, connections: usize) -> Result<Pool, BuildError> {
    let recycling_method = RecyclingMethod::Fast;
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
    Pool::builder(manager)
        .max_size(connections)
        .wait_timeout(Some(WAIT))
        .create_timeout(Some(WAIT))
        .recycle_timeout(Some(WAIT))
        .runtime(Runtime::Tokio1)
        .build()
}

/// The answer for a database that could not be asked, or could not answer.
pub fn unavailable(error: &(dyn Error + 'static)) -> Problem {
    tracing::warn!(error = chain(error), "PostgreSQL failed");
    Problem::unavailable(
        "database-unavailable",
        "the database does not answer just now",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_complete() {
        for good in [
            "postgres://u:p%40ss@db:5432/hits",
            "postgresql://u@db/hits?sslmode=disable",
            "postgres://u@db/hits?sslmode=prefer&options=-c%20search_path%3Dx",
        ] {
            assert!(url(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "host=db user=u dbname=hits",
            "postgres://u@db/hits?sslmode=require",
            "db",
            "postgres://db",
            "postgres://u@/hits",
            "http://u@db/x",
        ] {
            assert!(url(bad).is_none(), "{bad}");
        }
    }
}
