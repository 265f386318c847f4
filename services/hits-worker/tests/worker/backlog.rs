//! What piled up while no worker ran is worked off, in little memory.

use std::time::{Duration, Instant};

use redis::pipe;
use service_kit::redis::Redis;
use service_kit::redis::url;
use service_kit::testing::{PostgresServer, RedisServer};
use tokio::time::sleep;
use uuid::Uuid;

use crate::process::{Process, Program, Urls};

const MESSAGES: usize = 100_000;
const KEYS: usize = 1000;
/// A batch, as much again that waits for its turn, and the program itself.
const MEMORY: u64 = 64 << 20;
const LIMIT: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "the speed is not asserted but wanted")]
async fn a_hundred_thousand_messages_are_worked_off_in_little_memory() {
    let (Some(server), Some(postgres)) = (RedisServer::start(), PostgresServer::start()) else {
        return;
    };
    let redis = Redis::new(url(&server.url()).unwrap());
    let keys: Vec<Uuid> = (0..KEYS).map(|_| Uuid::new_v4()).collect();
    for page in 0..MESSAGES / 1000 {
        let mut all = pipe();
        for key in keys.iter().cycle().skip(page).take(1000) {
            let event = Uuid::now_v7().to_string();
            all.cmd("XADD").arg("hits").arg("*").arg("event").arg(event);
            all.arg("key")
                .arg(key.to_string())
                .arg("value")
                .arg(3)
                .ignore();
        }
        let () = redis.pipeline(&all).await.unwrap();
    }

    let urls = Urls {
        redis: server.url(),
        database: postgres.url(),
    };
    let worker = Process::start(Program::Worker, &urls, &[("FLUSH_SECONDS", "9")]);
    worker.wait_until_ready().await;
    let started = Instant::now();
    let client = postgres.connect().await;
    let mut length = redis::cmd("XLEN");
    length.arg("hits");
    while redis.query::<usize>(&length).await.unwrap() > 0 {
        assert!(started.elapsed() < LIMIT, "it is not worked off");
        sleep(Duration::from_millis(50)).await;
    }
    let speed = MESSAGES as f64 / started.elapsed().as_secs_f64();
    let memory = worker.most_memory();
    eprintln!("{speed:.0} messages a second, {} MiB", memory >> 20);
    let sums = "SELECT count(*), min(total)::bigint, max(total)::bigint FROM hits";
    let row = client.query_one(sums, &[]).await.unwrap();
    let each = (3 * MESSAGES / KEYS) as i64;
    let found: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(found, (KEYS as i64, each, each));
    assert!(memory < MEMORY, "{memory} bytes");
}
