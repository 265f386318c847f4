//! The HTTP interface up to the stream; what becomes of the increments is
//! tested with the worker.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use axum::Router;
use hits::{Pace, Servers};
use hits_api::{Config, start};
use redis::streams::StreamRangeReply;
use serde_json::{Value, json};
use service_kit::testing::{PostgresServer, RedisServer, call, request};
use service_kit::{Kit, Settings, about, postgres, redis as kit_redis};

const NOWHERE: &str = "postgres://nobody@127.0.0.1:1/none";
const BACKLOG: u64 = 1000;
const LIMIT: Duration = Duration::from_secs(20);
const KEY: &str = "0b9d4c5e-7a51-4f0e-9f0f-5d2f3a1c7e55";

async fn app_at(redis: &str, database: &str) -> Router {
    app_with(Some(Servers {
        redis: kit_redis::url(redis).unwrap(),
        database: postgres::url(database).unwrap(),
    }))
    .await
}

async fn app_with(servers: Option<Servers>) -> Router {
    let mut kit = Kit::new(about!(), Settings::default());
    let config = Config {
        servers,
        connections: 1,
        backlog: BACKLOG,
        pace: Pace {
            flush: Duration::from_millis(300),
            ..Pace::default()
        },
    };
    let routes = start(config, &mut kit).await.unwrap();
    kit.app(routes)
}

#[tokio::test]
async fn refuses_what_is_wrong() {
    let app = app_at("redis://127.0.0.1:1", NOWHERE).await;
    for (body, status, code) in [
        (json!({"key": KEY, "value": 0}), 422, "value-below-one"),
        (json!({"key": KEY, "value": -1}), 422, "value-below-one"),
        (json!({"key": KEY, "value": 1.5}), 422, "unexpected-json"),
        (json!({"key": KEY, "value": "1"}), 422, "unexpected-json"),
        (
            json!({"key": KEY, "value": 9_223_372_036_854_775_808_u64}),
            422,
            "unexpected-json",
        ),
        (json!({"key": "x", "value": 1}), 422, "unexpected-json"),
        (json!({"key": KEY}), 422, "unexpected-json"),
        (
            json!({"key": KEY, "value": 1, "by": 2}),
            422,
            "unexpected-json",
        ),
        (Value::Null, 415, "not-json-content-type"),
    ] {
        let answer = call(&app, request("POST", "/increment", &body)).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        assert_eq!(answer.problem(), code, "{body}");
    }
    let bad_key = call(&app, request("GET", "/increment/x", &Value::Null)).await;
    assert_eq!(
        (bad_key.status.as_u16(), bad_key.problem().as_str()),
        (400, "invalid-path")
    );
}

#[tokio::test]
async fn an_idempotency_key_is_short_and_visible() {
    let app = app_at("redis://127.0.0.1:1", NOWHERE).await;
    for key in ["", "two words", "ä", &"x".repeat(256)] {
        let mut write = request("POST", "/increment", &json!({"key": KEY, "value": 1}));
        let value = http::HeaderValue::from_bytes(key.as_bytes()).unwrap();
        write.headers_mut().insert("idempotency-key", value);
        let answer = call(&app, write).await;
        assert_eq!(answer.status, 400, "{key}");
        assert_eq!(answer.problem(), "invalid-idempotency-key", "{key}");
    }
}

#[tokio::test]
async fn says_what_is_away() {
    let app = app_at("redis://127.0.0.1:1", NOWHERE).await;
    let body = json!({"key": KEY, "value": 1});
    let write = call(&app, request("POST", "/increment", &body)).await;
    assert_eq!(
        (write.status.as_u16(), write.problem().as_str()),
        (503, "stream-unavailable")
    );
    let path = format!("/increment/{KEY}");
    let read = call(&app, request("GET", &path, &Value::Null)).await;
    assert_eq!(
        (read.status.as_u16(), read.problem().as_str()),
        (503, "database-unavailable")
    );
}

#[tokio::test]
async fn an_accepted_increment_is_on_the_stream_also_without_postgres() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let app = app_at(&server.url(), NOWHERE).await;
    assert_eq!(
        call(&app, request("GET", "/readyz", &Value::Null))
            .await
            .status,
        200
    );
    let body = json!({"key": KEY, "value": i64::MAX});
    let mut write = request("POST", "/increment", &body);
    write
        .headers_mut()
        .insert("x-request-id", "id-1".parse().unwrap());
    let accepted = call(&app, write).await;
    assert_eq!(accepted.status, 200);

    let redis = kit_redis::Redis::new(kit_redis::url(&server.url()).unwrap());
    let mut range = redis::cmd("XRANGE");
    range.arg("hits").arg("-").arg("+");
    let stream: StreamRangeReply = redis.query(&range).await.unwrap();
    assert_eq!(stream.ids.len(), 1);
    let field = |name: &str| stream.ids[0].get::<String>(name).unwrap();
    assert_eq!(field("key"), KEY);
    assert_eq!(field("value"), "9223372036854775807");
    assert_eq!(field("request_id"), "id-1");
    assert_eq!(accepted.json()["event"], field("event"));
}

#[tokio::test]
async fn a_backlog_that_is_too_long_takes_no_more_until_it_is_shorter() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let redis = kit_redis::Redis::new(kit_redis::url(&server.url()).unwrap());
    let mut fill = redis::pipe();
    for _ in 0..BACKLOG {
        fill.cmd("XADD")
            .arg("hits")
            .arg("*")
            .arg("a")
            .arg(1)
            .ignore();
    }
    let () = redis.pipeline(&fill).await.unwrap();
    let app = app_at(&server.url(), NOWHERE).await;
    let post = || {
        call(
            &app,
            request("POST", "/increment", &json!({"key": KEY, "value": 1})),
        )
    };
    let started = Instant::now();
    let refused = loop {
        let answer = post().await;
        if answer.status == 503 {
            break answer;
        }
        assert!(started.elapsed() < LIMIT, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(refused.problem(), "backlog-full");
    assert_eq!(refused.headers["retry-after"], "10");
    let length = || async {
        redis
            .query::<u64>(redis::cmd("XLEN").arg("hits"))
            .await
            .unwrap()
    };
    let full = length().await;
    assert_eq!(post().await.status, 503);
    assert_eq!(length().await, full);
    let _: u64 = redis
        .query(
            redis::cmd("XTRIM")
                .arg("hits")
                .arg("MAXLEN")
                .arg(BACKLOG - 1),
        )
        .await
        .unwrap();
    let started = Instant::now();
    while post().await.status != 200 {
        assert!(started.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_sum_may_be_wider_than_64_bits() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let client = server.connect().await;
    let table = "CREATE TABLE hits (key uuid PRIMARY KEY, total numeric(38, 0) NOT NULL)";
    client.batch_execute(table).await.unwrap();
    let insert = format!("INSERT INTO hits VALUES ('{KEY}', 18446744073709551616)");
    client.batch_execute(&insert).await.unwrap();

    let app = app_at("redis://127.0.0.1:1", &server.url()).await;
    let path = format!("/increment/{KEY}");
    let read = call(&app, request("GET", &path, &Value::Null)).await;
    let expected = format!("{{\"key\":\"{KEY}\",\"value\":18446744073709551616}}");
    assert_eq!(
        (read.status.as_u16(), read.text()),
        (200, expected.as_str())
    );
    let other = "/increment/00000000-0000-4000-8000-000000000000";
    let unknown = call(&app, request("GET", other, &Value::Null)).await;
    let document = call(&app, request("GET", "/openapi.json", &Value::Null)).await;
    let value = &document.json()["components"]["schemas"]["Sum"]["properties"]["value"];
    assert_eq!(value["type"], "integer");
    assert_eq!(value.get("format"), None, "that would bound it");
    assert_eq!(
        (unknown.status.as_u16(), unknown.problem().as_str()),
        (404, "not-found")
    );
}

#[tokio::test]
async fn without_servers_it_sums_up_itself_and_says_so() {
    let app = app_with(None).await;
    let ready = call(&app, request("GET", "/readyz", &Value::Null)).await;
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json()["stores"],
        json!([
            {"name": "increments", "place": "memory", "embedded": true},
            {"name": "sums", "place": "memory", "embedded": true}
        ])
    );
    let path = format!("/increment/{KEY}");
    let none = call(&app, request("GET", &path, &Value::Null)).await;
    assert_eq!(none.status, 404);
    let posted = Instant::now();
    for (idempotency, value) in [("one", 2), ("two", 3), ("one", 2)] {
        let mut write = request("POST", "/increment", &json!({"key": KEY, "value": value}));
        let header = idempotency.parse().unwrap();
        write.headers_mut().insert("idempotency-key", header);
        assert_eq!(call(&app, write).await.status, 200);
    }
    loop {
        let read = call(&app, request("GET", &path, &Value::Null)).await;
        if read.status == 200 {
            assert_eq!(read.json(), json!({"key": KEY, "value": 5}));
            break;
        }
        let late = posted.elapsed() > Duration::from_secs(2);
        assert!(!late, "{}", read.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        posted.elapsed() >= Duration::from_millis(250),
        "it was not gathered"
    );
    let metrics = call(&app, request("GET", "/metrics", &Value::Null)).await;
    for line in [
        "hits_writes_total 1",
        "hits_applied_total 2",
        "hits_increments_total{outcome=\"accepted\"} 3",
        "hits_increments_total{outcome=\"unknown\"} 0",
        "hits_duplicates_total 1",
    ] {
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }
}
