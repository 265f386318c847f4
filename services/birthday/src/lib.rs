//! `PUT /hello/{user}` stores a date of birth, `GET /hello/{user}` says how
//! many days are left until the next birthday.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod calendar;
mod routes;
mod store;
mod user;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use service_kit::postgres::{self, Postgres};
use service_kit::{Kit, Reader, StartError, Unusable};
use tokio_postgres::config::Config as DatabaseConfig;

pub use crate::calendar::days_to_birthday;
pub use crate::store::Store;
pub use crate::user::{User, UserError};

/// What the service reads from its environment, besides what every service reads.
#[derive(Debug)]
pub struct Config {
    /// `DATABASE_URL`: where PostgreSQL is.
    pub database: DatabaseConfig,
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
}

/// Reads the configuration.
///
/// # Errors
/// When a variable is missing or unusable.
pub fn configure(env: &mut Reader<'_>) -> Result<Config, Unusable> {
    let database = env.required(&postgres::DATABASE_URL);
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
pub async fn start(config: Config, kit: &mut Kit) -> Result<Router, StartError> {
    let postgres = Postgres::new(config.database, kit.about().name, config.connections)?;
    postgres.migrate_in_background(kit.lifecycle(), store::MIGRATIONS);
    let checked = postgres.clone();
    kit.ready_when("postgres", move || checked.clone().ready());
    Ok(app(State {
        store: Store::new(postgres),
        today: Arc::new(today_in_utc),
    }))
}

/// The routes of the service.
pub fn app(state: State) -> Router {
    Router::new()
        .route(
            "/hello/{user}",
            get(routes::hello::read).put(routes::hello::write),
        )
        .with_state(state)
}

/// A day begins for everyone at the same moment: the callers' time zones are
/// not known, and a date must not depend on the machine that is asked.
fn today_in_utc() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}
