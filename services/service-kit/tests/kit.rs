//! The kit as a service sees it, without a socket: its endpoints, and what surrounds each request.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use serde_json::{Value, json};
use service_kit::testing::{call, request};
use service_kit::{JsonBody, Kit, PathParams, Settings, Store, about};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

fn settings() -> Settings {
    Settings {
        request_limit: Duration::from_secs(1),
        ..Settings::default()
    }
}

fn routes() -> Router {
    Router::new()
        .route("/quick/{id}", get(|| async { "done" }))
        .route(
            "/slow",
            get(|| async {
                sleep(Duration::from_millis(900)).await;
                "done"
            }),
        )
        .route(
            "/stuck",
            get(|| async { sleep(Duration::from_secs(60)).await }),
        )
        .route("/panic", get(|| async { panic!("oh no") as () }))
        .route(
            "/echo",
            post(|JsonBody(body): JsonBody<Point>| async move { body.x.to_string() }),
        )
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    x: i64,
}

#[tokio::test]
async fn answers_its_own_endpoints() {
    let kit = Kit::new(about!(), settings());
    let app = kit.app(routes().into());

    let health = call(&app, request("GET", "/healthz", &Value::Null)).await;
    assert_eq!((health.status.as_u16(), health.text()), (200, "ok\n"));

    let version = call(&app, request("GET", "/version", &Value::Null)).await;
    assert_eq!(version.json()["name"], "service-kit");
    assert_eq!(version.json()["version"], env!("CARGO_PKG_VERSION"));
    let toolchain = version.json()["toolchain"].as_str().unwrap().to_owned();
    assert!(toolchain.starts_with("rustc 1."), "{toolchain}");
    // Set where the build was given them.
    assert_eq!(version.json()["commit"], json!(option_env!("GIT_COMMIT")));
    assert_eq!(version.json()["built_at"], json!(option_env!("BUILD_TIME")));

    call(&app, request("GET", "/quick/7", &Value::Null)).await;
    call(&app, request("GET", "/nowhere", &Value::Null)).await;
    let metrics = call(&app, request("GET", "/metrics", &Value::Null)).await;
    let text = metrics.text();
    let quick = r#"http_requests_total{method="GET",path="/quick/{id}",status="200"} 1"#;
    let nowhere = r#"http_requests_total{method="GET",path="unmatched",status="404"} 1"#;
    assert!(text.contains(quick) && text.contains(nowhere), "{text}");
    let count =
        r#"http_request_duration_seconds_count{method="GET",path="/quick/{id}",status="200"} 1"#;
    assert!(text.contains(count), "{text}");
    // The scrape itself is the one request in flight.
    assert!(text.contains("http_requests_in_flight 1"), "{text}");
}

/// Where the clock stands, time passes once nothing else is left to do.
async fn settled() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn is_unhealthy_once_an_essential_task_has_ended() {
    let kit = Kit::new(about!(), settings());
    let app = kit.app(routes().into());
    kit.lifecycle().spawn(async {});
    let (end, ended) = oneshot::channel::<()>();
    kit.lifecycle().spawn_essential("worker", async {
        ended.await.expect("ends by a panic");
    });
    settled().await;
    let alive = call(&app, request("GET", "/healthz", &Value::Null)).await;
    assert_eq!(alive.status, 200);
    drop(end);
    settled().await;
    let broken = call(&app, request("GET", "/healthz", &Value::Null)).await;
    assert_eq!(
        (broken.status.as_u16(), broken.problem().as_str()),
        (500, "task-ended")
    );
    assert!(broken.text().contains("`worker`"), "{}", broken.text());
}

#[tokio::test]
async fn readiness_has_reasons() {
    let database = Arc::new(AtomicBool::new(false));
    let mut kit = Kit::new(about!(), settings());
    let seen = Arc::clone(&database);
    kit.ready_when("database", move || {
        let up = seen.load(Ordering::SeqCst);
        async move {
            if up {
                Ok(())
            } else {
                Err("no route to host".to_owned())
            }
        }
    });
    kit.ready_when("slow", || async { Ok(()) });
    let app = kit.app(routes().into());

    let away = call(&app, request("GET", "/readyz", &Value::Null)).await;
    assert_eq!(away.status, 503);
    assert_eq!(
        away.json(),
        json!({"status": "unready", "checks": [
            {"name": "database", "ok": false, "reason": "no route to host"},
            {"name": "slow", "ok": true},
        ], "stores": []})
    );
    database.store(true, Ordering::SeqCst);
    let back = call(&app, request("GET", "/readyz", &Value::Null)).await;
    assert_eq!(
        (back.status.as_u16(), &back.json()["status"]),
        (200, &json!("ready"))
    );
}

#[tokio::test]
async fn readiness_says_where_the_data_is() {
    let mut kit = Kit::new(about!(), settings());
    kit.keeps(Store::embedded("counters", "memory"));
    kit.keeps(Store::external("sums", "PostgreSQL"));
    let app = kit.app(routes().into());
    let answer = call(&app, request("GET", "/readyz", &Value::Null)).await;
    assert_eq!(
        answer.json()["stores"],
        json!([
            {"name": "counters", "place": "memory", "embedded": true},
            {"name": "sums", "place": "PostgreSQL", "embedded": false},
        ])
    );
}

/// Named in the document by its title and not by its path in the code.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Sum {
    sum: i64,
}

/// Adds.
#[utoipa::path(get, path = "/sum/{n}", params(("n" = i64, Path)), responses((status = OK, body = Sum)))]
async fn sum(PathParams(n): PathParams<i64>) -> axum::Json<Sum> {
    axum::Json(Sum { sum: n })
}

#[tokio::test]
async fn the_document_of_the_api_is_that_of_the_routes() {
    let kit = Kit::new(about!(), settings());
    let app = kit.app(OpenApiRouter::new().routes(routes!(sum)));
    let answer = call(&app, request("GET", "/openapi.json", &Value::Null)).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    assert_eq!(document["info"]["title"], "service-kit");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let all = [
        "/healthz",
        "/metrics",
        "/openapi.json",
        "/readyz",
        "/sum/{n}",
        "/version",
    ];
    assert_eq!(paths, all);
    let operation = &document["paths"]["/sum/{n}"]["get"];
    assert_eq!(operation["summary"], "Adds.");
    let content = &operation["responses"]["200"]["content"]["application/json"];
    assert_eq!(content["schema"]["$ref"], "#/components/schemas/Sum");
    assert_eq!(operation["operationId"], "getSumN");
    let refused = &operation["responses"]["400"];
    assert_eq!(refused["description"], "`invalid-path`");
    let schema = &refused["content"]["application/problem+json"]["schema"]["allOf"];
    let codes = &schema[1]["properties"]["code"]["enum"];
    assert_eq!(codes, &json!(["invalid-path"]));
    let default = &operation["responses"]["default"]["$ref"];
    assert_eq!(default, "#/components/responses/Problem");
    let problem = &document["components"]["responses"]["Problem"]["content"];
    assert_eq!(
        problem["application/problem+json"]["schema"]["$ref"],
        "#/components/schemas/Problem"
    );
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_it_takes_are_told_to_come_back() {
    let settings = Settings {
        concurrency: 1,
        ..settings()
    };
    let app = Kit::new(about!(), settings).app(routes().into());
    let slow = call(&app, request("GET", "/slow", &Value::Null));
    let others = async {
        settled().await;
        let refused = call(&app, request("GET", "/quick/1", &Value::Null)).await;
        assert_eq!(refused.problem(), "busy");
        assert_eq!(refused.headers["retry-after"], "1");
        for path in ["/healthz", "/readyz", "/metrics"] {
            let judged = call(&app, request("GET", path, &Value::Null)).await;
            assert_eq!(judged.status, 200, "{path}");
        }
    };
    let (slow, ()) = tokio::join!(slow, others);
    assert_eq!(slow.status, 200);
    let again = call(&app, request("GET", "/quick/1", &Value::Null)).await;
    assert_eq!(again.status, 200, "the place is free again");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_is_a_reason_and_not_a_hanging_probe() {
    let mut kit = Kit::new(about!(), settings());
    kit.ready_when("database", || async {
        sleep(Duration::from_secs(60)).await;
        Ok(())
    });
    let started = Instant::now();
    let answer = call(
        &kit.app(routes().into()),
        request("GET", "/readyz", &Value::Null),
    )
    .await;
    // Less than the second that a kubelet waits.
    assert_eq!(started.elapsed().as_millis(), 900);
    assert_eq!(
        answer.json()["checks"][0]["reason"],
        "no answer within 900 ms"
    );
}

#[tokio::test(start_paused = true)]
async fn every_failure_is_a_problem() {
    let app = Kit::new(about!(), settings()).app(routes().into());
    let too_long = json!({"x": "1".repeat(70_000)});
    for (method, path, body, status, code) in [
        ("GET", "/nowhere", Value::Null, 404, "not-found"),
        ("DELETE", "/slow", Value::Null, 405, "method-not-allowed"),
        ("GET", "/panic", Value::Null, 500, "internal"),
        ("GET", "/stuck", Value::Null, 503, "request-timed-out"),
        ("POST", "/echo", Value::Null, 415, "not-json-content-type"),
        (
            "POST",
            "/echo",
            json!({"x": 1, "y": 2}),
            422,
            "unexpected-json",
        ),
        ("POST", "/echo", too_long, 413, "body-too-large"),
    ] {
        let answer = call(&app, request(method, path, &body)).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        assert_eq!(answer.problem(), code, "{method} {path}");
    }
    let metrics = call(&app, request("GET", "/metrics", &Value::Null)).await;
    for (path, status) in [("/panic", 500), ("/stuck", 503)] {
        let counted =
            format!(r#"http_requests_total{{method="GET",path="{path}",status="{status}"}} 1"#);
        assert!(metrics.text().contains(&counted), "{}", metrics.text());
    }
    let refused = call(&app, request("DELETE", "/slow", &Value::Null)).await;
    assert!(refused.headers.contains_key("allow"));
}

#[tokio::test]
async fn keeps_a_usable_request_id_and_replaces_others() {
    let app = Kit::new(about!(), settings()).app(routes().into());
    for (sent, kept) in [
        ("abc-123", true),
        ("two words", false),
        (&"x".repeat(200), false),
    ] {
        let mut get = request("GET", "/healthz", &Value::Null);
        get.headers_mut()
            .insert("x-request-id", sent.parse().unwrap());
        let answer = call(&app, get).await;
        let id = answer.headers["x-request-id"].to_str().unwrap();
        assert_eq!(id == sent, kept, "{sent}");
        assert!(!id.is_empty());
    }
}
