//! The sums that `hits-worker` keeps in PostgreSQL; read only here.

use std::num::ParseIntError;

use deadpool_postgres::PoolError;
use service_kit::postgres::Postgres;
use uuid::Uuid;

/// The sums. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Sums {
    postgres: Postgres,
}

/// Why there is no sum.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SumsError {
    #[error("cannot connect to PostgreSQL")]
    Connect(#[from] PoolError),
    #[error("cannot query PostgreSQL")]
    Query(#[from] tokio_postgres::Error),
    #[error("a sum is not a number")]
    Number(#[from] ParseIntError),
}

impl Sums {
    /// The sums in the database of `postgres`.
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    /// The sum of a key; none where nothing was summed up yet. It may be wider
    /// than the 64 bits of each increment.
    pub(crate) async fn get(&self, key: Uuid) -> Result<Option<u128>, SumsError> {
        let client = self.postgres.client().await?;
        let select = client
            .prepare_cached("SELECT total::text FROM hits WHERE key = $1")
            .await?;
        let Some(row) = client.query_opt(&select, &[&key]).await? else {
            return Ok(None);
        };
        let total: String = row.try_get(0)?;
        Ok(Some(total.parse()?))
    }
}
