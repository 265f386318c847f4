//! From `POST /increment` to the sum, over real servers, some of which die.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use axum::Router;
use redis::streams::StreamRangeReply;
use redis::{Cmd, FromRedisValue, cmd};
use serde_json::{Value, json};
use service_kit::redis::Redis;
use service_kit::testing::{PostgresServer, RedisServer, call, request};
use service_kit::{Kit, Lifecycle, Settings, about, postgres, redis as kit_redis};
use tokio::time::sleep;
use uuid::Uuid;

struct Stack {
    redis: RedisServer,
    postgres: PostgresServer,
    api: Router,
}

struct RunningWorker {
    app: Router,
    lifecycle: Lifecycle,
}

impl Stack {
    async fn start() -> Option<Self> {
        let (redis, postgres) = (RedisServer::start()?, PostgresServer::start()?);
        let mut kit = Kit::new(about!(), Settings::default());
        let config = hits_api::Config {
            redis: kit_redis::url(&redis.url()).unwrap(),
            database: postgres::url(&postgres.url()).unwrap(),
            connections: 2,
        };
        let routes = hits_api::start(config, &mut kit).await.unwrap();
        Some(Self {
            redis,
            postgres,
            api: kit.app(routes),
        })
    }

    async fn worker(&self, batch: usize) -> RunningWorker {
        let mut kit = Kit::new(about!(), Settings::default());
        let config = hits_worker::Config {
            redis: kit_redis::url(&self.redis.url()).unwrap(),
            database: postgres::url(&self.postgres.url()).unwrap(),
            flush: Duration::from_millis(100),
            batch,
            host: "test".to_owned(),
        };
        let routes = hits_worker::start(config, &mut kit).await.unwrap();
        RunningWorker {
            app: kit.app(routes),
            lifecycle: kit.lifecycle().clone(),
        }
    }

    /// Whether the increment was acknowledged.
    async fn increment(&self, key: Uuid, value: i64) -> bool {
        let body = json!({"key": key, "value": value});
        call(&self.api, request("POST", "/increment", &body))
            .await
            .status
            == 200
    }

    async fn sum(&self, key: Uuid) -> Option<u64> {
        let path = format!("/increment/{key}");
        let answer = call(&self.api, request("GET", &path, &Value::Null)).await;
        answer.json()["value"].as_u64()
    }

    async fn wait_for_sum(&self, key: Uuid, expected: u64) {
        let started = Instant::now();
        loop {
            let sum = self.sum(key).await;
            if sum == Some(expected) {
                return;
            }
            let late = started.elapsed() > Duration::from_secs(20);
            assert!(!late, "the sum of {key} is {sum:?} and not {expected}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn redis<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let redis = Redis::new(kit_redis::url(&self.redis.url()).unwrap());
        redis.query_twice(command).await.unwrap()
    }

    async fn append(&self, fields: &[(&str, &str)]) {
        let mut command = cmd("XADD");
        command.arg("hits").arg("*").arg(fields);
        let _: String = self.redis(&command).await;
    }

    /// Waits until nothing is left to do: each message is settled.
    async fn wait_for_empty_stream(&self) {
        let started = Instant::now();
        loop {
            let length: u64 = self.redis(cmd("XLEN").arg("hits")).await;
            if length == 0 {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "{length} messages are left"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl RunningWorker {
    async fn metrics(&self) -> String {
        let answer = call(&self.app, request("GET", "/metrics", &Value::Null)).await;
        answer.text().to_owned()
    }

    async fn ready(&self) -> (u16, Value) {
        let answer = call(&self.app, request("GET", "/readyz", &Value::Null)).await;
        (answer.status.as_u16(), answer.json())
    }

    async fn wait_until_ready(&self) {
        let started = Instant::now();
        loop {
            let (status, report) = self.ready().await;
            if status == 200 {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{report}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn sums_up_what_the_api_takes() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let worker = stack.worker(100).await;
    worker.wait_until_ready().await;
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    for n in 1..=250 {
        assert!(stack.increment(a, n).await);
    }
    assert!(stack.increment(b, i64::MAX).await);
    stack.wait_for_sum(a, 31_375).await;
    stack.wait_for_sum(b, 9_223_372_036_854_775_807).await;
    stack.wait_for_empty_stream().await;
    let metrics = worker.metrics().await;
    assert!(metrics.contains("hits_applied_total 251"), "{metrics}");
    assert!(metrics.contains("hits_duplicates_total 0"), "{metrics}");
}

#[tokio::test]
async fn a_repetition_with_the_same_idempotency_key_counts_once() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let worker = stack.worker(100).await;
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let mut events = Vec::new();
    for (key, idempotency) in [(a, "one"), (a, "one"), (a, "two"), (b, "one")] {
        let mut increment = request("POST", "/increment", &json!({"key": key, "value": 3}));
        let headers = increment.headers_mut();
        headers.insert("idempotency-key", idempotency.parse().unwrap());
        let answer = call(&stack.api, increment).await;
        assert_eq!(answer.status, 200);
        events.push(answer.json()["event"].clone());
    }
    assert_eq!(events[0], events[1]);
    stack.wait_for_empty_stream().await;
    assert_eq!((stack.sum(a).await, stack.sum(b).await), (Some(6), Some(3)));
    assert!(worker.metrics().await.contains("hits_duplicates_total 1"));
}

#[tokio::test]
async fn an_event_that_is_delivered_twice_counts_once() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let worker = stack.worker(100).await;
    let (event, key) = (Uuid::now_v7().to_string(), Uuid::new_v4());
    let text = key.to_string();
    let message = [("event", event.as_str()), ("key", &text), ("value", "5")];
    stack.append(&message).await;
    stack.append(&message).await;
    stack.wait_for_sum(key, 5).await;
    stack.wait_for_empty_stream().await;
    // Also when it comes long after the first was settled.
    stack.append(&message).await;
    stack.wait_for_empty_stream().await;
    assert_eq!(stack.sum(key).await, Some(5));
    assert!(worker.metrics().await.contains("hits_duplicates_total 2"));
}

#[tokio::test]
async fn what_can_never_be_applied_becomes_a_dead_letter_and_holds_up_nothing() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let worker = stack.worker(100).await;
    worker.wait_until_ready().await;
    // A sum that is at its limit: PostgreSQL refuses the data of its next increment.
    let full = Uuid::new_v4();
    let fill = format!("INSERT INTO hits VALUES ('{full}', 1e38 - 1)");
    stack
        .postgres
        .connect()
        .await
        .batch_execute(&fill)
        .await
        .unwrap();

    let good = Uuid::new_v4();
    stack
        .append(&[("event", "x"), ("key", "y"), ("value", "1")])
        .await;
    for n in 1..=10 {
        assert!(stack.increment(good, n).await);
        if n == 5 {
            assert!(stack.increment(full, 1).await);
        }
    }
    stack.wait_for_sum(good, 55).await;
    stack.wait_for_empty_stream().await;
    let dead: StreamRangeReply = stack
        .redis(cmd("XRANGE").arg("hits:dead").arg("-").arg("+"))
        .await;
    let reasons: Vec<String> = dead
        .ids
        .iter()
        .map(|letter| letter.get("reason").unwrap())
        .collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].contains("`event` is not a UUID"), "{reasons:?}");
    assert!(reasons[1].contains("numeric field overflow"), "{reasons:?}");
    let content: String = dead.ids[1].get("message").unwrap();
    assert!(content.contains(&full.to_string()), "{content}");
}

#[tokio::test]
async fn takes_over_from_a_worker_that_died() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let key = Uuid::new_v4();
    assert!(stack.increment(key, 3).await);
    let mut group = cmd("XGROUP");
    group.arg("CREATE").arg("hits").arg("hits-worker").arg("0");
    let _: () = stack.redis(&group).await;
    let mut read = cmd("XREADGROUP");
    read.arg("GROUP")
        .arg("hits-worker")
        .arg("died")
        .arg("STREAMS")
        .arg("hits")
        .arg(">");
    let _: redis::Value = stack.redis(&read).await;

    let _worker = stack.worker(100).await;
    stack.wait_for_sum(key, 3).await;
    stack.wait_for_empty_stream().await;
}

#[tokio::test]
async fn counts_exactly_once_through_crashes() {
    let Some(mut stack) = Stack::start().await else {
        return;
    };
    let (first, second) = (stack.worker(7).await, stack.worker(7).await);
    first.wait_until_ready().await;
    let key = Uuid::new_v4();
    let mut acknowledged = 0;
    let mut unknown = 0;
    for round in 0..6 {
        for n in 1..=40_u64 {
            if stack.increment(key, n as i64).await {
                acknowledged += n;
            } else {
                unknown += n;
            }
            if n == 20 && round % 2 == 0 {
                stack.postgres.kill();
            }
            if n == 20 && round % 2 == 1 {
                stack.redis.kill();
                stack.redis.resume();
            }
        }
        stack.postgres.kill();
        stack.postgres.resume();
    }
    drop(stack.postgres.connect().await);
    stack.wait_for_empty_stream().await;
    let sum = stack.sum(key).await.unwrap();
    // Each increment without an answer counts at most once, the others exactly once.
    assert!(
        (acknowledged..=acknowledged + unknown).contains(&sum),
        "{sum} is not in {acknowledged} to {acknowledged} + {unknown}"
    );
    assert!(
        unknown < acknowledged / 4,
        "hardly anything was acknowledged"
    );
    drop((first, second));
}

#[tokio::test]
async fn makes_its_group_again_when_redis_lost_its_data() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let worker = stack.worker(100).await;
    worker.wait_until_ready().await;
    let _: () = stack.redis(&cmd("FLUSHALL")).await;
    let key = Uuid::new_v4();
    assert!(stack.increment(key, 4).await);
    stack.wait_for_sum(key, 4).await;
}

#[tokio::test]
async fn is_unready_with_a_reason_while_a_server_is_away() {
    let Some(mut stack) = Stack::start().await else {
        return;
    };
    let worker = stack.worker(100).await;
    worker.wait_until_ready().await;
    stack.redis.kill();
    let (status, report) = worker.ready().await;
    assert_eq!(
        (status, &report["checks"][0]["name"]),
        (503, &json!("redis"))
    );
    assert_eq!(report["checks"][0]["ok"], false);
    assert_eq!(report["checks"][1]["ok"], true);
    stack.redis.resume();
    worker.wait_until_ready().await;
}

#[tokio::test]
async fn writes_what_it_has_and_leaves_the_group_when_asked_to_end() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    let worker = stack.worker(10_000).await;
    worker.wait_until_ready().await;
    let key = Uuid::new_v4();
    assert!(stack.increment(key, 9).await);
    worker.lifecycle.stop().await;
    assert_eq!(stack.sum(key).await, Some(9));
    let mut info = cmd("XINFO");
    info.arg("CONSUMERS").arg("hits").arg("hits-worker");
    let consumers: Vec<redis::Value> = stack.redis(&info).await;
    assert!(consumers.is_empty(), "{consumers:?}");
}
