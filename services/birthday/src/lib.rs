//! `PUT /hello/{user}` stores a date of birth, `GET /hello/{user}` says how
//! many days are left until the next birthday.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod calendar;
mod metrics;
mod routes;
mod store;
mod user;

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use service_kit::postgres::{self, Postgres};
use service_kit::{Kit, Reader, StartError, Store as Kept, Unusable};
use tokio_postgres::config::Config as DatabaseConfig;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use crate::calendar::days_to_birthday;
pub use crate::metrics::Metrics;
pub use crate::store::{Birthdays, Database, Memory, Store, StoreError};
pub use crate::user::{User, UserError};

/// What the service reads from its environment, besides what every service reads.
#[derive(Debug)]
pub struct Config {
    /// `DATABASE_URL`: where PostgreSQL is; without it, which is refused in Kubernetes, dates are kept in memory.
    pub database: Option<DatabaseConfig>,
    /// `DATABASE_CONNECTIONS`, default 8: the size of the pool of one replica.
    pub connections: usize,
}

/// What the handlers share.
#[derive(Clone)]
pub struct State {
    /// Where the dates are.
    pub store: Store,
    /// Which day it is. A function, so that tests can choose it.
    pub today: Arc<dyn Fn() -> Date + Send + Sync>,
    /// What is counted.
    pub metrics: Metrics,
}

/// Reads the configuration.
///
/// # Errors
/// When a variable is missing or unusable.
pub fn configure(env: &mut Reader<'_>) -> Result<Config, Unusable> {
    let database = env.store(&postgres::DATABASE_URL);
    let connections = env.or(&postgres::DATABASE_CONNECTIONS, 8);
    Ok(Config {
        database: database?,
        connections: connections?,
    })
}

/// Starts the service: its schema is brought up to date in the background, and
/// it is unready until then.
///
/// # Errors
/// When the pool refuses its settings.
pub async fn start(config: Config, kit: &mut Kit) -> Result<OpenApiRouter, StartError> {
    let store: Store = match config.database {
        Some(database) => {
            kit.keeps(Kept::external("birthdays", "PostgreSQL"));
            let postgres = Postgres::new(database, kit.about().name, config.connections)?;
            postgres.migrate_in_background(kit.lifecycle(), store::MIGRATIONS);
            let checked = postgres.clone();
            kit.ready_when("postgres", move || checked.clone().ready());
            Arc::new(Database::new(postgres))
        }
        None => {
            kit.keeps(Kept::embedded("birthdays", "memory"));
            Arc::new(Memory::default())
        }
    };
    Ok(app(State {
        store,
        today: Arc::new(today_in_utc),
        metrics: kit.register_metrics(Metrics::register),
    }))
}

/// The routes of the service.
pub fn app(state: State) -> OpenApiRouter {
    use crate::routes::hello;
    OpenApiRouter::new()
        .routes(routes!(hello::read, hello::write))
        .with_state(state)
}

/// A day begins for everyone at the same moment: the callers' time zones are
/// not known, and a date must not depend on the machine that is asked.
fn today_in_utc() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}
