//! With `FLUSH_SECONDS=9` no sum is ten seconds behind, and nothing is written more often than that takes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hits::Pace;
use redis::cmd;
use redis::streams::StreamPendingReply;
use service_kit::testing::PostgresServer;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{interval, sleep};
use uuid::Uuid;

use crate::process::{Process, Program, Urls, port_of, redis_on, signal};
use crate::stack::Stack;

const FLUSH: Duration = Duration::from_secs(9);
const LIMIT: Duration = Duration::from_secs(10);
const LOAD: Duration = Duration::from_secs(33);

/// Posts increments, each for a key of its own, and tells when each was answered.
async fn post(stack: &Stack, answered: UnboundedSender<(Uuid, Instant)>) {
    let started = Instant::now();
    let mut ticks = interval(Duration::from_millis(40));
    while started.elapsed() < LOAD {
        ticks.tick().await;
        let key = Uuid::new_v4();
        if stack.increment(key, 1).await {
            answered.send((key, Instant::now())).unwrap();
        }
    }
}

/// Checks that each becomes readable in time. Gives their number and the greatest age.
async fn check(
    postgres: &PostgresServer,
    mut answered: UnboundedReceiver<(Uuid, Instant)>,
) -> (usize, Duration) {
    let client = postgres.connect().await;
    let (mut waiting, mut number, mut greatest) = (HashMap::new(), 0, Duration::ZERO);
    let mut open = true;
    while open || !waiting.is_empty() {
        sleep(Duration::from_millis(50)).await;
        loop {
            match answered.try_recv() {
                Ok((key, at)) => drop(waiting.insert(key, at)),
                Err(error) => {
                    open = error == tokio::sync::mpsc::error::TryRecvError::Empty;
                    break;
                }
            }
        }
        let keys: Vec<Uuid> = waiting.keys().copied().collect();
        let rows = client
            .query("SELECT key FROM hits WHERE key = ANY($1)", &[&keys])
            .await
            .unwrap();
        for row in rows {
            let at: Instant = waiting.remove(&row.get(0)).unwrap();
            number += 1;
            greatest = greatest.max(at.elapsed());
        }
        let oldest = waiting
            .values()
            .map(Instant::elapsed)
            .max()
            .unwrap_or_default();
        assert!(
            oldest < LIMIT,
            "{} are not readable after {oldest:?}",
            waiting.len()
        );
    }
    (number, greatest)
}

/// How many transactions wrote sums.
async fn writes(stack: &Stack) -> i64 {
    let client = stack.postgres.connect().await;
    let count = "SELECT count(DISTINCT updated_at) FROM hits";
    client.query_one(count, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_writes_every_nine_seconds_and_nothing_is_ten_seconds_old() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let batch = 10_000;
    let worker = stack
        .worker_at(Pace {
            flush: FLUSH,
            batch,
        })
        .await;
    worker.wait_until_ready().await;
    let (sender, answered) = unbounded_channel();
    let (_, (number, greatest)) =
        tokio::join!(post(&stack, sender), check(&stack.postgres, answered));
    assert!(number > 100, "only {number} increments");
    assert!(greatest > FLUSH, "written too early: {greatest:?}");
    // The last write is of what came in the last seconds.
    assert_eq!(writes(&stack).await, 4);
}

/// Faults that may cost time: a batch that is full, a Redis that hangs, a worker that dies with increments in hand
/// that are nearly due.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_ten_seconds_old_whatever_intervenes() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let urls = Urls {
        redis: stack.redis.url(),
        database: stack.postgres.url(),
    };
    let pace = [("FLUSH_SECONDS", "9"), ("BATCH_MESSAGES", "300")];
    let mut workers = [0, 1].map(|_| Process::start(Program::Worker, &urls, &pace));
    for worker in &workers {
        worker.wait_until_ready().await;
    }
    let (sender, answered) = unbounded_channel();
    let burst = sender.clone();
    let faults = async {
        sleep(Duration::from_secs(5)).await;
        let posts = (0..3000).map(|_| async {
            let key = Uuid::new_v4();
            if stack.increment(key, 1).await {
                burst.send((key, Instant::now())).unwrap();
            }
        });
        futures_util::future::join_all(posts).await;
        drop(burst);
        // Both were given their first increments about eight seconds ago.
        sleep(Duration::from_millis(3500)).await;
        workers[0].kill();
        sleep(Duration::from_secs(5)).await;
        workers[0].resume();
        let redis = redis_on(port_of(&urls.redis));
        for _ in 0..4 {
            signal("-STOP", redis);
            sleep(Duration::from_millis(1200)).await;
            signal("-CONT", redis);
            sleep(Duration::from_millis(1800)).await;
        }
        workers[1].kill();
    };
    let ((), (), (number, _)) = tokio::join!(
        post(&stack, sender),
        faults,
        check(&stack.postgres, answered)
    );
    // Those that come one by one are not so many.
    assert!(number > 1500, "only {number} increments");
}

/// The greatest number that a worker has in hand between two writes, or nearly. Less than the longest flush leaves time
/// for a PostgreSQL that shares two cores with all other tests.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_ten_seconds_old_when_a_worker_dies_with_thousands_in_hand() {
    const NUMBER: usize = 9500;
    let Some(stack) = Stack::start().await else {
        return;
    };
    let urls = Urls {
        redis: stack.redis.url(),
        database: stack.postgres.url(),
    };
    let mut first = Process::start(Program::Worker, &urls, &[("FLUSH_SECONDS", "6")]);
    first.wait_until_ready().await;
    let started = Instant::now();
    stack.append_many(NUMBER).await;
    let mut in_hand = cmd("XPENDING");
    in_hand.arg("hits").arg("hits-worker");
    while stack.redis::<StreamPendingReply>(&in_hand).await.count() < NUMBER {
        assert!(started.elapsed() < FLUSH, "it was not given all");
        sleep(Duration::from_millis(20)).await;
    }
    let second = Process::start(Program::Worker, &urls, &[("FLUSH_SECONDS", "6")]);
    second.wait_until_ready().await;
    let nearly_due = Duration::from_millis(5200);
    sleep(nearly_due.saturating_sub(started.elapsed())).await;
    first.kill();
    let client = stack.postgres.connect().await;
    loop {
        let row = client.query_one("SELECT count(*) FROM hits", &[]).await;
        let age = started.elapsed();
        if row.unwrap().get::<_, i64>(0) == NUMBER as i64 {
            break;
        }
        assert!(age < LIMIT, "after {age:?} not all are readable");
        sleep(Duration::from_millis(20)).await;
    }
}
