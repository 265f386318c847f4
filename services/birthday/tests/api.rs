//! The HTTP interface: what needs no database against none, the rest against
//! a real PostgreSQL.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use birthday::{Config, Database, Memory, Metrics, State, Store, app, start};
use jiff::civil::{Date, date};
use serde_json::{Value, json};
use service_kit::postgres::{Postgres, url};
use service_kit::testing::{PostgresServer, call, request};
use service_kit::{Kit, Settings, about};

const TODAY: Date = date(2026, 11, 21);

/// The app of a fixed day over a store.
fn app_over(store: Store) -> Router {
    let kit = Kit::new(about!(), Settings::default());
    let state = State {
        store,
        today: Arc::new(|| TODAY),
        metrics: kit.register_metrics(Metrics::register),
    };
    kit.app(app(state))
}

/// That over the database at `address`.
fn app_at(address: &str) -> Router {
    let postgres = Postgres::new(url(address).unwrap(), "test", 2).unwrap();
    app_over(Arc::new(Database::new(postgres)))
}

fn app_without_database() -> Router {
    app_at("postgres://nobody@127.0.0.1:1/none")
}

/// The whole service, with its background tasks.
async fn service(address: &str) -> (Router, service_kit::Lifecycle) {
    let mut kit = Kit::new(about!(), Settings::default());
    let config = Config {
        database: Some(url(address).unwrap()),
        connections: 2,
    };
    let routes = start(config, &mut kit).await.unwrap();
    (kit.app(routes), kit.lifecycle().clone())
}

async fn wait_until_ready(app: &Router) {
    let started = Instant::now();
    loop {
        let answer = call(app, request("GET", "/readyz", &Value::Null)).await;
        if answer.status == 200 {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{}",
            answer.text()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn refuses_what_is_wrong_before_asking_the_database() {
    let app = app_without_database();
    let born = |text: &str| json!({ "dateOfBirth": text });
    for (user, body, status, code) in [
        ("ada1", born("1990-01-01"), 400, "invalid-user"),
        ("a%20b", born("1990-01-01"), 400, "invalid-user"),
        (&"x".repeat(65), born("1990-01-01"), 400, "invalid-user"),
        ("Ada", born("1990-02-30"), 400, "invalid-date"),
        ("Ada", born("1990-1-1"), 400, "invalid-date"),
        ("Ada", born("01.01.1990"), 400, "invalid-date"),
        ("Ada", born("1990-01-01T00:00:00"), 400, "invalid-date"),
        ("Ada", born("0000-01-01"), 400, "invalid-date"),
        ("Ada", born("2026-11-21"), 422, "date-not-in-the-past"),
        ("Ada", born("2026-11-22"), 422, "date-not-in-the-past"),
        ("Ada", json!({"dateOfBirth": 1990}), 422, "unexpected-json"),
        (
            "Ada",
            json!({"dateOfBirth": "1990-01-01", "x": 1}),
            422,
            "unexpected-json",
        ),
        ("Ada", json!({}), 422, "unexpected-json"),
        ("Ada", Value::Null, 415, "not-json-content-type"),
    ] {
        let answer = call(&app, request("PUT", &format!("/hello/{user}"), &body)).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{user} {body}: {}",
            answer.text()
        );
        assert_eq!(answer.problem(), code, "{user} {body}");
    }
}

#[tokio::test]
async fn says_that_the_database_is_away() {
    let answer = call(
        &app_without_database(),
        request("GET", "/hello/Ada", &Value::Null),
    )
    .await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.problem(), "database-unavailable");
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn stores_a_date_and_counts_the_days() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    drop(server.connect().await);
    let (service, lifecycle) = service(&server.url()).await;
    wait_until_ready(&service).await;
    stores_and_counts(&app_at(&server.url())).await;
    drop(lifecycle);
}

#[tokio::test]
async fn without_a_database_the_same_holds_in_memory() {
    stores_and_counts(&app_over(Arc::new(Memory::default()))).await;
}

#[tokio::test]
async fn without_a_database_it_is_ready_and_says_where_the_data_is() {
    let mut kit = Kit::new(about!(), Settings::default());
    let config = Config {
        database: None,
        connections: 1,
    };
    let routes = start(config, &mut kit).await.unwrap();
    let app = kit.app(routes);
    let ready = call(&app, request("GET", "/readyz", &Value::Null)).await;
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json()["stores"],
        json!([{"name": "birthdays", "place": "memory", "embedded": true}])
    );
}

async fn stores_and_counts(app: &Router) {
    let unknown = call(app, request("GET", "/hello/Ada", &Value::Null)).await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.problem().as_str()),
        (404, "not-found")
    );
    for (born, message) in [
        ("1990-11-22", "Hello, Ada! Your birthday is in 1 day(s)"),
        ("1815-12-10", "Hello, Ada! Your birthday is in 19 day(s)"),
        ("1990-11-21", "Hello, Ada! Happy birthday!"),
        ("2026-11-20", "Hello, Ada! Your birthday is in 364 day(s)"),
        ("0001-01-01", "Hello, Ada! Your birthday is in 41 day(s)"),
    ] {
        let stored = call(
            app,
            request("PUT", "/hello/Ada", &json!({"dateOfBirth": born})),
        )
        .await;
        assert_eq!((stored.status.as_u16(), stored.text()), (204, ""), "{born}");
        let read = call(app, request("GET", "/hello/Ada", &Value::Null)).await;
        assert_eq!(read.status, 200);
        assert_eq!(read.json(), json!({ "message": message }), "{born}");
    }
    let other = call(app, request("GET", "/hello/ada", &Value::Null)).await;
    assert_eq!(other.status, 404, "names are case sensitive");
    let metrics = call(app, request("GET", "/metrics", &Value::Null)).await;
    for line in [
        "birthday_stored_total 5\n",
        "birthday_greetings_total 5\n",
        "birthday_birthdays_total 1\n",
    ] {
        assert!(metrics.text().contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn stays_up_while_the_database_is_away_and_comes_back_with_it() {
    let Some(mut server) = PostgresServer::start() else {
        return;
    };
    server.kill();
    let (app, _lifecycle) = service(&server.url()).await;
    let away = call(&app, request("GET", "/readyz", &Value::Null)).await;
    assert_eq!(away.status, 503);
    let healthy = call(&app, request("GET", "/healthz", &Value::Null)).await;
    assert_eq!(healthy.status, 200);

    server.resume();
    wait_until_ready(&app).await;
    let body = json!({"dateOfBirth": "1990-01-01"});
    let stored = call(&app, request("PUT", "/hello/Ada", &body)).await;
    assert_eq!(stored.status, 204);

    server.kill();
    let away = call(&app, request("GET", "/readyz", &Value::Null)).await;
    assert_eq!(away.status, 503);
    let reason = away.json()["checks"][0]["reason"].to_string();
    assert!(reason.contains("connect"), "{reason}");
    server.resume();
    wait_until_ready(&app).await;
    let kept = server.connect().await;
    let kept = kept.query_one(
        "SELECT date_of_birth FROM birthdays WHERE username = 'Ada'",
        &[],
    );
    let kept: Date = kept.await.unwrap().get(0);
    assert_eq!(kept, date(1990, 1, 1));
}
