//! How much a consumer takes over from one that died.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use hits::stream::{Consumer, RedisConsumer};
use service_kit::redis::{Redis, url};
use service_kit::testing::RedisServer;
use tokio::time::sleep;

const SOON: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(20);

/// However many: what is taken over page by page, survey by survey, is late.
#[tokio::test]
async fn one_survey_takes_over_all_that_there_is_room_for() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let redis = Redis::new(url(&server.url()).unwrap());
    let mut all = redis::pipe();
    for _ in 0..3500 {
        all.cmd("XADD")
            .arg("hits")
            .arg("*")
            .arg("a")
            .arg(1)
            .ignore();
    }
    let () = redis.pipeline(&all).await.unwrap();
    {
        let died = RedisConsumer::new(&redis.apart(), "died");
        assert_eq!(died.read(3500, SOON).await.unwrap().len(), 3500);
    }
    let heir = RedisConsumer::new(&redis, "heir");
    let started = Instant::now();
    for expected in [2500, 1000] {
        let taken = loop {
            let taken = heir.survey(2500).await.unwrap().taken_over;
            if !taken.is_empty() {
                break taken;
            }
            assert!(started.elapsed() < LIMIT);
            sleep(SOON).await;
        };
        assert_eq!(taken.len(), expected);
    }
}
