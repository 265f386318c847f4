//! Adds the increments that `hits-api` put on a Redis stream to sums in PostgreSQL, in batches, each exactly once. The
//! work itself is in [`hits`].

use std::sync::Arc;
use std::time::Duration;

use hits::stream::RedisConsumer;
use hits::sums::PostgresSums;
use hits::{Pace, Servers, Worker};
use service_kit::postgres::Postgres;
use service_kit::redis::Redis;
use service_kit::{Kit, Reader, StartError, Store, Unusable, Variable};
use utoipa_axum::router::OpenApiRouter;

/// Kubernetes sets it to the name of the pod. Redis takes no names with spaces.
const HOSTNAME: Variable<String> = Variable::new("HOSTNAME", "a name without spaces", |text| {
    let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
    graphic.then(|| text.to_owned())
});
/// One writes, one forgets.
const CONNECTIONS: usize = 2;
/// For a statement: more than the largest batch takes on a slow disk, since one that is begun again takes no less.
const STATEMENT_LIMIT: Duration = Duration::from_secs(10);

/// What the service reads from its environment, besides what every service reads.
#[derive(Debug)]
pub struct Config {
    /// `REDIS_URL` and `DATABASE_URL`; without them, which is refused in Kubernetes, it has nothing to do.
    pub servers: Option<Servers>,
    /// `FLUSH_SECONDS` and `BATCH_MESSAGES`: how much is gathered before it is written.
    pub pace: Pace,
    /// `IDEMPOTENCY_DAYS`: how long an `Idempotency-Key` is remembered.
    pub remembered: Duration,
    /// `HOSTNAME`, default `worker`: the start of the name in the consumer group.
    pub host: String,
}

/// Reads the configuration.
///
/// # Errors
/// When a variable is missing or unusable.
pub fn configure(env: &mut Reader<'_>) -> Result<Config, Unusable> {
    let servers = hits::servers(env);
    let pace = hits::pace(env);
    let remembered = hits::remembered(env);
    let host = env.or(&HOSTNAME, "worker".to_owned());
    Ok(Config {
        servers: servers?,
        pace: pace?,
        remembered: remembered?,
        host: host?,
    })
}

/// Starts the worker in the background. There are no routes but those that
/// every service has.
///
/// # Errors
/// When the pool refuses its settings.
pub async fn start(config: Config, kit: &mut Kit) -> Result<OpenApiRouter, StartError> {
    let Some(servers) = config.servers else {
        hits::embedded(kit, config.pace);
        tracing::warn!("nobody can put increments here; hits-api alone works on its own");
        return Ok(OpenApiRouter::new());
    };
    kit.keeps(Store::external("increments", servers.redis.describe()));
    kit.keeps(Store::external("sums", "PostgreSQL"));
    let redis = Redis::new(servers.redis);
    let postgres = Postgres::with_limit(
        servers.database,
        kit.about().name,
        CONNECTIONS,
        STATEMENT_LIMIT,
    )?;
    let sums = PostgresSums::new(postgres.clone());
    sums.migrate_in_background(kit.lifecycle());

    // Over a connection of its own: the consumer has to hear of each that breaks under it.
    let checked = redis.apart();
    kit.ready_when("redis", move || checked.clone().ready());
    kit.ready_when("postgres", move || postgres.clone().ready());

    let worker = Worker {
        stream: Arc::new(RedisConsumer::new(&redis, &config.host)),
        sums: Arc::new(sums),
        pace: config.pace,
        remembered: config.remembered,
    };
    worker.start(kit);
    Ok(OpenApiRouter::new())
}
