//! The steps of a schema, and how many replicas may take them at once.

use deadpool_postgres::{ClientWrapper, PoolError, Transaction};

/// One step of a schema. Steps are never edited once released, only added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Counts up from 1 without gaps.
    pub version: i32,
    /// What it does, in kebab case.
    pub name: &'static str,
    /// One or more statements. They run in a transaction, and are kept in the database to notice edits.
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
    /// The step has run with other statements than it has now.
    #[error("migration {version}, `{name}`, was edited after it ran")]
    Rewritten {
        /// The version in question.
        version: i32,
        /// Its name.
        name: &'static str,
    },
}

/// `sql` was not there from the beginning.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
         version integer PRIMARY KEY,
         name text NOT NULL,
         applied_at timestamptz NOT NULL DEFAULT now()
     );
     ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS sql text";

/// The lock is held until the transaction ends, also when the connection dies, so a replica that is killed midway leaves
/// neither a lock nor half a schema.
pub(super) async fn migrate(
    client: &mut ClientWrapper,
    migrations: Migrations,
) -> Result<(), MigrateError> {
    let transaction = client.transaction().await?;
    // A step, and with it the wait for the replica that takes it, lasts as long as it does.
    transaction
        .batch_execute("SET LOCAL statement_timeout = 0")
        .await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&migrations.lock])
        .await?;
    transaction.batch_execute(TABLE).await?;
    for step in migrations.steps {
        if is_applied(&transaction, step).await? {
            continue;
        }
        transaction.batch_execute(step.sql).await?;
        transaction
            .execute(
                "INSERT INTO schema_migrations (version, name, sql) VALUES ($1, $2, $3)",
                &[&step.version, &step.name, &step.sql],
            )
            .await?;
        tracing::info!(version = step.version, name = step.name, "migrated");
    }
    transaction.commit().await?;
    Ok(())
}

/// Whether the database has had a step, and that one.
async fn is_applied(transaction: &Transaction<'_>, step: &Migration) -> Result<bool, MigrateError> {
    let (version, name) = (step.version, step.name);
    // A step of which nothing is known but its name was what it is now.
    let applied = transaction
        .query_opt(
            "UPDATE schema_migrations SET sql = coalesce(sql, $2) WHERE version = $1 RETURNING name, sql",
            &[&version, &step.sql],
        )
        .await?;
    let Some(row) = applied else {
        return Ok(false);
    };
    let (theirs, sql): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    if theirs != name {
        return Err(MigrateError::Edited {
            version,
            ours: name,
            theirs,
        });
    }
    if sql != step.sql {
        return Err(MigrateError::Rewritten { version, name });
    }
    Ok(true)
}
