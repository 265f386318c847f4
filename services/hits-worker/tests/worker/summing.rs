//! Sums, through crashes too.

use std::time::{Duration, Instant};

use redis::cmd;
use serde_json::json;
use service_kit::testing::{call, request};
use tokio::time::sleep;
use uuid::Uuid;

use crate::process::port_of;
use crate::proxy::Proxy;
use crate::stack::Stack;

/// With this Redis answers `XREADGROUP` when it has messages, and says it in no other answer.
const MESSAGES: &[u8] = b"$4\r\nhits\r\n";

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

#[tokio::test]
async fn takes_over_what_an_interrupted_read_was_given() {
    let Some(stack) = Stack::start().await else {
        return;
    };
    // Between Redis handing a message out and the worker having it.
    let proxy = Proxy::start(port_of(&stack.redis.url()), MESSAGES).await;
    let redis = stack.redis.url().replace(
        &port_of(&stack.redis.url()).to_string(),
        &proxy.port.to_string(),
    );
    let worker = stack.worker_over(&redis, 100).await;
    worker.wait_until_ready().await;
    for cuts in 1..=3 {
        proxy.cut_once();
        let (event, key) = (Uuid::now_v7().to_string(), Uuid::new_v4());
        let text = key.to_string();
        let message = [("event", event.as_str()), ("key", &text), ("value", "1")];
        stack.append(&message).await;
        stack.wait_for_sum(key, 1).await;
        assert_eq!(proxy.cuts(), cuts, "it was not interrupted");
    }
    stack.wait_for_empty_stream().await;
}

#[tokio::test]
async fn ends_without_postgres_and_leaves_what_it_has_to_others() {
    let Some(mut stack) = Stack::start().await else {
        return;
    };
    let worker = stack.worker(100).await;
    worker.wait_until_ready().await;
    stack.postgres.kill();
    let key = Uuid::new_v4();
    assert!(stack.increment(key, 3).await);
    worker
        .wait_for("hits_failures_total", |failures| failures > 0.0)
        .await;
    let asked = Instant::now();
    worker.lifecycle.stop().await;
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "Kubernetes kills it"
    );
    drop(worker);
    stack.postgres.resume();
    let _another = stack.worker(100).await;
    stack.wait_for_sum(key, 3).await;
    stack.wait_for_empty_stream().await;
}

#[tokio::test]
async fn a_backlog_and_its_age_show_and_grow_while_postgres_is_away() {
    let Some(mut stack) = Stack::start().await else {
        return;
    };
    let worker = stack.worker(10).await;
    worker.wait_until_ready().await;
    worker.wait_for("hits_age_seconds", |age| age == 0.0).await;
    stack.postgres.kill();
    // More than fit into the worker.
    let key = Uuid::new_v4();
    for _ in 0..50 {
        assert!(stack.increment(key, 1).await);
    }
    worker
        .wait_for("hits_backlog", |backlog| backlog == 50.0)
        .await;
    worker.wait_for("hits_age_seconds", |age| age > 3.0).await;
    let before = worker.metric("hits_age_seconds").await;
    sleep(Duration::from_secs(1)).await;
    let after = worker.metric("hits_age_seconds").await;
    assert!((0.5..2.0).contains(&(after - before)), "{before} {after}");
    // It goes on ageing also when the stream cannot be seen.
    stack.redis.kill();
    worker
        .wait_for("hits_age_seconds", |age| age > after + 2.0)
        .await;
    stack.redis.resume();
    stack.postgres.resume();
    stack.wait_for_sum(key, 50).await;
    worker.wait_for("hits_age_seconds", |age| age == 0.0).await;
    // Also when nothing was there: that was then.
    stack.redis.kill();
    worker.wait_for("hits_age_seconds", |age| age > 1.0).await;
    stack.redis.resume();
    worker.wait_for("hits_age_seconds", |age| age == 0.0).await;
    worker
        .wait_for("hits_backlog", |backlog| backlog == 0.0)
        .await;
}
