//! What `/openapi.json` promises is what is answered, whatever is sent.

use hits_api::{configure, start};
use service_kit::about;
use service_kit::testing::{PostgresServer, RedisServer, contract};

const TABLE: &str = "CREATE TABLE hits (key uuid PRIMARY KEY, total numeric(38, 0) NOT NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn keeps_its_contract() {
    let (Some(redis), Some(postgres)) = (RedisServer::start(), PostgresServer::start()) else {
        return;
    };
    // The worker makes it.
    let made = postgres.connect().await.batch_execute(TABLE).await;
    assert!(made.is_ok(), "{made:?}");
    let (redis, database) = (redis.url(), postgres.url());
    let environment = [("REDIS_URL", &*redis), ("DATABASE_URL", &*database)];
    contract(about!(), &environment, configure, start).await;
}
