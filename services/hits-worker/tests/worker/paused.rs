//! A worker that stops in the middle of a write keeps its rows locked, and does not hold up the others.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::process::{Process, Program, Urls, signal};
use crate::stack::{LIMIT, Stack};

/// From when the other worker is there until it has summed up what the first had.
const PROMISE: Duration = Duration::from_secs(10);

/// Makes each write take a second, so that there is a middle.
const SLOW: &str = "
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER INSERT ON hits EXECUTE FUNCTION slow();";
/// The trigger itself cannot be dropped while the table is locked.
const FAST: &str = "
    CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$";

async fn wait_for_a_write(client: &Client) {
    let writes = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let started = Instant::now();
    while client
        .query_one(writes, &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        == 0
    {
        assert!(started.elapsed() < LIMIT, "nothing is written");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_in_the_middle_of_a_write_holds_up_no_other() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let limits = "-c%20idle_in_transaction_session_timeout%3D2000%20-c%20lock_timeout%3D2000";
    let urls = Urls {
        redis: stack.redis.url(),
        database: format!("{}?options={limits}", stack.postgres.url()),
    };
    let first = Process::start(Program::Worker, &urls, &[]);
    first.wait_until_ready().await;
    let client = stack.postgres.connect().await;
    client.batch_execute(SLOW).await.unwrap();
    let key = Uuid::new_v4();
    assert!(stack.increment(key, 3).await);
    wait_for_a_write(&client).await;
    signal("-STOP", first.pid());
    client.batch_execute(FAST).await.unwrap();

    // Of the same key, whose row is locked.
    assert!(stack.increment(key, 4).await);
    let second = Process::start(Program::Worker, &urls, &[]);
    second.wait_until_ready().await;
    let ready = Instant::now();
    while stack.sum(key).await != Some(7) {
        assert!(ready.elapsed() < PROMISE, "{:?}", stack.sum(key).await);
        sleep(Duration::from_millis(50)).await;
    }
    stack.wait_for_empty_stream().await;

    // It goes on, and does no harm.
    signal("-CONT", first.pid());
    drop(second);
    assert!(stack.increment(key, 5).await);
    stack.wait_for_sum(key, 12).await;
    stack.wait_for_empty_stream().await;
}
