//! The HTTP interface: what needs no Redis against none, the rest against a
//! real one.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use axum::Router;
use counter::{Config, start};
use futures_util::future::join_all;
use serde_json::{Value, json};
use service_kit::redis::{Place, url};
use service_kit::testing::{Answer, RedisSentinel, RedisServer, call, request};
use service_kit::{Kit, Settings, about};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn app_at(address: &str) -> Router {
    app_with(Some(url(address).unwrap())).await
}

async fn app_with(redis: Option<Place>) -> Router {
    // A listing is tested with thousands of requests at once.
    let settings = Settings {
        concurrency: 10_000,
        ..Settings::default()
    };
    let mut kit = Kit::new(about!(), settings);
    let config = Config { redis };
    let routes = start(config, &mut kit).await.unwrap();
    kit.app(routes)
}

async fn send(app: &Router, method: &str, path: &str) -> Answer {
    call(app, request(method, path, &Value::Null)).await
}

#[tokio::test]
async fn refuses_what_is_wrong() {
    let app = app_at("redis://127.0.0.1:1").await;
    for (method, path, code) in [
        ("POST", "/counters/a%20b", "invalid-name"),
        ("GET", "/counters/a%2Fb", "invalid-name"),
        ("POST", "/counters/a?by=x", "invalid-query"),
        ("POST", "/counters/a?by=1.5", "invalid-query"),
        (
            "POST",
            "/counters/a?by=9223372036854775808",
            "invalid-query",
        ),
        ("POST", "/counters/a?times=2", "invalid-query"),
        ("GET", "/counters?limit=0", "invalid-query"),
        ("GET", "/counters?limit=10001", "invalid-query"),
        ("GET", "/counters?limit=many", "invalid-query"),
    ] {
        let answer = send(&app, method, path).await;
        assert_eq!(answer.status, 400, "{method} {path}");
        assert_eq!(answer.problem(), code, "{method} {path}");
    }
}

#[tokio::test]
async fn says_that_nothing_was_counted_when_redis_is_away() {
    let app = app_at("redis://127.0.0.1:1").await;
    for (method, path) in [
        ("POST", "/counters/a"),
        ("GET", "/counters/a"),
        ("GET", "/counters"),
    ] {
        let answer = send(&app, method, path).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.problem(), "store-unavailable", "{method} {path}");
    }
    assert_eq!(send(&app, "GET", "/readyz").await.status, 503);
}

#[tokio::test]
async fn counts_in_redis() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    counts(&app_at(&server.url()).await).await;
}

#[tokio::test]
async fn counts_behind_sentinels() {
    let Some(servers) = RedisSentinel::start() else {
        return;
    };
    counts(&app_at(&servers.url()).await).await;
}

#[tokio::test]
async fn counts_in_memory_and_says_so() {
    let app = app_with(None).await;
    counts(&app).await;
    let ready = send(&app, "GET", "/readyz").await;
    assert_eq!(
        ready.json()["stores"],
        json!([{"name": "counters", "place": "memory", "embedded": true}])
    );
}

/// What holds for every store, which is empty.
async fn counts(app: &Router) {
    assert_eq!(send(app, "GET", "/readyz").await.status, 200);
    assert_eq!(send(app, "GET", "/counters/a").await.problem(), "not-found");
    assert_eq!(
        send(app, "GET", "/counters").await.json(),
        json!({"counters": []})
    );
    for (path, value) in [
        ("/counters/a", 1),
        ("/counters/a?by=41", 42),
        ("/counters/a?by=-2", 40),
        ("/counters/b?by=0", 0),
    ] {
        let counted = send(app, "POST", path).await;
        assert_eq!(counted.json()["value"], value, "{path}");
    }
    let read = send(app, "GET", "/counters/a").await;
    assert_eq!(read.json(), json!({"name": "a", "value": 40}));
    assert_eq!(
        send(app, "GET", "/counters").await.json(),
        json!({"counters": [{"name": "a", "value": 40}, {"name": "b", "value": 0}]})
    );
    for _ in 0..2 {
        assert_eq!(send(app, "DELETE", "/counters/a").await.status, 204);
    }
    assert_eq!(send(app, "GET", "/counters/a").await.status, 404);
    values_are_64_bit_and_never_wrap(app).await;
    let metrics = send(app, "GET", "/metrics").await;
    for line in [
        "counter_increments_total{outcome=\"counted\"} 5\n",
        "counter_increments_total{outcome=\"overflow\"} 1\n",
        "counter_increments_total{outcome=\"unknown\"} 0\n",
    ] {
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }
    lists_more_than_one_page(app).await;
}

async fn values_are_64_bit_and_never_wrap(app: &Router) {
    let path = format!("/counters/max?by={}", i64::MAX);
    assert_eq!(send(app, "POST", &path).await.json()["value"], i64::MAX);
    let over = send(app, "POST", "/counters/max").await;
    assert_eq!(
        (over.status.as_u16(), over.problem().as_str()),
        (422, "overflow")
    );
    let unchanged = send(app, "GET", "/counters/max").await;
    assert_eq!(unchanged.json()["value"], i64::MAX);
}

async fn lists_more_than_one_page(app: &Router) {
    let paths: Vec<String> = (0..2500).map(|n| format!("/counters/c{n}")).collect();
    // At once: they share round trips.
    let counted = join_all(paths.iter().map(|path| send(app, "POST", path))).await;
    let refused: Vec<_> = counted
        .iter()
        .filter(|answer| answer.status != 200)
        .collect();
    assert!(refused.is_empty(), "{refused:?}");

    let mut expected: Vec<String> = (0..2500).map(|n| format!("c{n}")).collect();
    expected.extend(["b", "max"].map(str::to_owned));
    expected.sort();
    let mut found: Vec<String> = Vec::new();
    let mut path = "/counters?limit=1200".to_owned();
    for length in [1200, 1200, 102] {
        let page = send(app, "GET", &path).await.json();
        let counters = page["counters"].as_array().unwrap();
        assert_eq!(counters.len(), length, "{path}");
        let names = counters.iter().map(|one| one["name"].as_str().unwrap());
        found.extend(names.map(str::to_owned));
        let next = page["next"].as_str();
        assert_eq!(next.is_some(), length == 1200, "{next:?}");
        path = format!("/counters?limit=1200&after={}", next.unwrap_or_default());
    }
    assert_eq!(found, expected);
    // A page that ends with the last has no next one.
    let last = send(app, "GET", "/counters?limit=1&after=c999")
        .await
        .json();
    assert_eq!(
        last,
        json!({"counters": [{"name": "max", "value": i64::MAX}]})
    );
    let page = send(app, "GET", "/counters").await.json();
    assert_eq!(page["counters"].as_array().unwrap().len(), 1000);
    assert_eq!(page["next"], expected[999]);
}

#[tokio::test]
async fn survives_a_restart_of_redis_without_losing_a_count() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let app = app_at(&server.url()).await;
    assert_eq!(send(&app, "POST", "/counters/a?by=5").await.status, 200);
    server.kill();
    let away = send(&app, "POST", "/counters/a").await;
    assert_eq!(away.status, 503);
    assert_eq!(send(&app, "GET", "/readyz").await.status, 503);
    server.resume();
    // A read may be sent twice, so the broken connection does not show.
    assert_eq!(send(&app, "GET", "/counters/a").await.json()["value"], 5);
    assert_eq!(send(&app, "POST", "/counters/a").await.json()["value"], 6);
}

/// A Redis behind a wire that is cut right after an increment went through.
async fn cut_after_increment(listener: TcpListener, redis: String) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(&redis).await.unwrap();
        let mut buffer = vec![0; 4096];
        loop {
            let read = client.read(&mut buffer).await.unwrap();
            if read == 0 {
                break;
            }
            server.write_all(&buffer[..read]).await.unwrap();
            let increments = buffer[..read].windows(7).any(|word| word == b"HINCRBY");
            let read = server.read(&mut buffer).await.unwrap();
            if increments {
                break;
            }
            client.write_all(&buffer[..read]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_increment_without_an_answer_is_unknown_and_not_repeated() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = listener.local_addr().unwrap().to_string();
    let url = server.url();
    let redis = url
        .rsplit_once('@')
        .unwrap()
        .1
        .trim_end_matches("/0")
        .to_owned();
    tokio::spawn(cut_after_increment(listener, redis.clone()));

    let app = app_at(&url.replace(&redis, &wire)).await;
    let answer = send(&app, "POST", "/counters/a").await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "outcome-unknown")
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Counted once although the client heard nothing: a repeat would make it 2.
    let direct = app_at(&url).await;
    assert_eq!(send(&direct, "GET", "/counters/a").await.json()["value"], 1);
}
