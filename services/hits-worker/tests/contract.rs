//! What `/openapi.json` promises is what is answered, whatever is sent.

use hits_worker::{configure, start};
use service_kit::about;
use service_kit::testing::{PostgresServer, RedisServer, contract};

#[tokio::test(flavor = "multi_thread")]
async fn keeps_its_contract() {
    let (Some(redis), Some(postgres)) = (RedisServer::start(), PostgresServer::start()) else {
        return;
    };
    let (redis, database) = (redis.url(), postgres.url());
    let environment = [("REDIS_URL", &*redis), ("DATABASE_URL", &*database)];
    contract(about!(), &environment, configure, start).await;
}
