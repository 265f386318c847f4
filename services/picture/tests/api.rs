//! The page and the picture, drawn here or fetched from a backend that fails.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use picture::{Config, start};
use serde_json::Value;
use service_kit::testing::{Answer, call, request};
use service_kit::{Kit, Lifecycle, Settings, about};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n picture number ";

fn config() -> Config {
    Config {
        backend: None,
        cache: None,
        ttl: Duration::from_secs(60),
        greeting: "Hi <there>".to_owned(),
    }
}

async fn app(config: Config) -> (Router, Lifecycle) {
    let mut kit = Kit::new(about!(), Settings::default());
    let routes = start(config, &mut kit).await.unwrap();
    (kit.app(routes), kit.lifecycle().clone())
}

async fn get_from(app: &Router, path: &str) -> Answer {
    call(app, request("GET", path, &Value::Null)).await
}

/// Waits until `/picture` is as wanted, and gives it.
async fn wait_for(app: &Router, what: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let started = Instant::now();
    loop {
        let answer = get_from(app, "/picture").await;
        if wanted(&answer) {
            return answer;
        }
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "never {what}: {answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_there(answer: &Answer) -> bool {
    answer.status == 200
}

/// A backend that sends one picture after another, or fails while `broken` is not 0.
struct Backend {
    url: String,
    served: Arc<AtomicUsize>,
    broken: Arc<AtomicUsize>,
}

impl Backend {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/random", listener.local_addr().unwrap());
        let (served, broken) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (count, fails) = (Arc::clone(&served), Arc::clone(&broken));
        let answer = move || {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let answer = match fails.load(Ordering::SeqCst) {
                0 => [PNG, number.to_string().as_bytes()]
                    .concat()
                    .into_response(),
                1 => http::StatusCode::BAD_GATEWAY.into_response(),
                _ => "<html>not a picture</html>".into_response(),
            };
            async move { answer }
        };
        let routes = Router::new().route("/random", get(answer));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self {
            url,
            served,
            broken,
        }
    }

    fn config(&self, ttl: Duration) -> Config {
        Config {
            backend: Some(self.url.parse().unwrap()),
            ttl,
            ..config()
        }
    }
}

#[tokio::test]
async fn draws_a_picture_and_lets_it_be_cached() {
    let (app, _lifecycle) = app(config()).await;
    let picture = wait_for(&app, "drawn", is_there).await;
    assert_eq!(picture.headers["content-type"], "image/svg+xml");
    assert_eq!(picture.headers["x-picture"], "fresh");
    assert!(picture.text().starts_with("<svg "));
    let cache_control = picture.headers["cache-control"].to_str().unwrap();
    let max_age: u64 = cache_control
        .strip_prefix("public, max-age=")
        .unwrap()
        .parse()
        .unwrap();
    assert!((50..60).contains(&max_age), "{max_age}");

    let mut again = request("GET", "/picture", &Value::Null);
    again
        .headers_mut()
        .insert("if-none-match", picture.headers["etag"].clone());
    let unchanged = call(&app, again).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.headers["etag"], picture.headers["etag"]);
    assert_eq!(get_from(&app, "/readyz").await.status, 200);
}

#[tokio::test]
async fn the_page_shows_greeting_picture_and_build() {
    let (app, _lifecycle) = app(config()).await;
    let page = get_from(&app, "/").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let text = page.text();
    for part in [
        "<h1>Hi &lt;there&gt;</h1>",
        "<img src=\"/picture\"",
        concat!("picture ", env!("CARGO_PKG_VERSION"), ", commit "),
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[tokio::test]
async fn replaces_the_picture_when_its_time_is_up() {
    let (app, _lifecycle) = app(Config {
        ttl: Duration::from_millis(200),
        ..config()
    })
    .await;
    let first = wait_for(&app, "drawn", is_there).await;
    wait_for(&app, "replaced", |answer| answer.body != first.body).await;
}

#[tokio::test]
async fn fetches_once_for_any_number_of_requests() {
    let backend = Backend::start().await;
    let (app, _lifecycle) = app(backend.config(Duration::from_secs(60))).await;
    let picture = wait_for(&app, "fetched", is_there).await;
    assert_eq!(picture.headers["content-type"], "image/png");
    for _ in 0..100 {
        assert_eq!(get_from(&app, "/picture").await.body, picture.body);
    }
    assert_eq!(backend.served.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn serves_the_old_picture_while_the_backend_fails() {
    let backend = Backend::start().await;
    let (app, _lifecycle) = app(backend.config(Duration::from_millis(300))).await;
    wait_for(&app, "fetched", is_there).await;
    for failure in [1, 2] {
        backend.broken.store(failure, Ordering::SeqCst);
        let stale = wait_for(&app, "stale", |answer| {
            answer.headers["x-picture"] == "stale"
        })
        .await;
        assert_eq!(stale.status, 200);
        assert_eq!(stale.headers["cache-control"], "no-cache");
        assert!(stale.body.starts_with(PNG));
        assert_eq!(get_from(&app, "/readyz").await.status, 200);
        backend.broken.store(0, Ordering::SeqCst);
        wait_for(&app, "replaced", |answer| answer.body != stale.body).await;
    }
}

#[tokio::test]
async fn is_unready_with_a_reason_until_there_is_a_first_picture() {
    let backend = Backend::start().await;
    backend.broken.store(1, Ordering::SeqCst);
    let (app, _lifecycle) = app(backend.config(Duration::from_secs(60))).await;
    let started = Instant::now();
    loop {
        let report = get_from(&app, "/readyz").await;
        assert_eq!(report.status, 503);
        if report.json()["checks"][0]["reason"] == "the backend answered 502 Bad Gateway" {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{}",
            report.text()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(get_from(&app, "/picture").await.problem(), "no-picture-yet");
    backend.broken.store(0, Ordering::SeqCst);
    wait_for(&app, "fetched", is_there).await;
}

#[tokio::test]
async fn a_kept_picture_survives_a_restart_and_then_expires() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    let config = |ttl| Config {
        cache: Some(folder.path().to_owned()),
        ..backend.config(ttl)
    };
    let (first, lifecycle) = app(config(Duration::from_secs(60))).await;
    let picture = wait_for(&first, "fetched", is_there).await;
    lifecycle.stop().await;

    let (second, lifecycle) = app(config(Duration::from_secs(60))).await;
    let kept = wait_for(&second, "taken up", is_there).await;
    assert_eq!(kept.body, picture.body);
    assert_eq!(backend.served.load(Ordering::SeqCst), 1);
    lifecycle.stop().await;

    // Too old by now for a shorter time to live: shown until the next is there.
    let (third, _lifecycle) = app(config(Duration::from_millis(100))).await;
    wait_for(&third, "replaced", |answer| {
        is_there(answer) && answer.body != picture.body
    })
    .await;
}
