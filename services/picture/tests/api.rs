//! The page and the picture, drawn here or fetched from a backend that fails.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::future::join_all;
use http::StatusCode;
use picture::{Config, start};
use serde_json::Value;
use service_kit::testing::{Answer, call, request};
use service_kit::{Kit, Lifecycle, Settings, about};
use tokio::time::sleep;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n picture number ";
const LONG: Duration = Duration::from_secs(60);

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

/// How a backend answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Good,
    /// Good, after this many milliseconds.
    Slow(u64),
    Broken,
    Garbage,
    /// 429 with this `Retry-After` in seconds.
    Limiting(u64),
}

/// A backend that sends one picture after another, or fails.
struct Backend {
    url: String,
    served: Arc<AtomicUsize>,
    mood: Arc<Mutex<Mood>>,
}

impl Backend {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/random", listener.local_addr().unwrap());
        let served = Arc::<AtomicUsize>::default();
        let mood = Arc::new(Mutex::new(Mood::Good));
        let (count, how) = (Arc::clone(&served), Arc::clone(&mood));
        let answer = move || {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let mood = *how.lock().unwrap();
            async move {
                let picture = [PNG, number.to_string().as_bytes()].concat();
                match mood {
                    Mood::Good => picture.into_response(),
                    Mood::Slow(delay) => {
                        sleep(Duration::from_millis(delay)).await;
                        picture.into_response()
                    }
                    Mood::Broken => StatusCode::BAD_GATEWAY.into_response(),
                    Mood::Garbage => "<html>not a picture</html>".into_response(),
                    Mood::Limiting(seconds) => {
                        let headers = [("retry-after", seconds.to_string())];
                        (StatusCode::TOO_MANY_REQUESTS, headers).into_response()
                    }
                }
            }
        };
        let routes = Router::new().route("/random", get(answer));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, served, mood }
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    fn config(&self, ttl: Duration) -> Config {
        Config {
            backend: self.url.parse().unwrap(),
            cache: None,
            ttl,
            patience: Duration::from_secs(2),
            greeting: "Hi <there>".to_owned(),
        }
    }
}

fn freshness(answer: &Answer) -> &str {
    answer.headers["x-picture"].to_str().unwrap()
}

#[tokio::test]
async fn a_picture_may_be_cached_until_its_time_is_up() {
    let backend = Backend::start().await;
    let (app, _lifecycle) = app(backend.config(LONG)).await;
    let picture = wait_for(&app, "fetched", is_there).await;
    assert_eq!(picture.headers["content-type"], "image/png");
    assert_eq!(freshness(&picture), "fresh");
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
    let ready = get_from(&app, "/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["stores"][0]["place"], "memory");
}

#[tokio::test]
async fn the_first_picture_is_waited_for() {
    let backend = Backend::start().await;
    backend.is(Mood::Slow(300));
    let (app, _lifecycle) = app(backend.config(LONG)).await;
    assert_eq!(get_from(&app, "/picture").await.status, 200);
}

#[tokio::test]
async fn a_thousand_requests_after_the_expiry_get_the_old_picture_once_and_fetch_once() {
    let backend = Backend::start().await;
    let ttl = Duration::from_millis(1500);
    let (app, _lifecycle) = app(backend.config(ttl)).await;
    let old = wait_for(&app, "fetched", is_there).await;
    backend.is(Mood::Slow(400));
    sleep(ttl + Duration::from_millis(50)).await;

    let answers = join_all((0..1000).map(|_| get_from(&app, "/picture"))).await;
    let of = |wanted: &str| {
        let found = answers.iter().filter(|answer| freshness(answer) == wanted);
        found.collect::<Vec<_>>()
    };
    let (grace, fresh) = (of("grace"), of("fresh"));
    assert_eq!((grace.len(), fresh.len()), (1, 999));
    assert_eq!(grace[0].body, old.body);
    assert!(fresh.iter().all(|answer| answer.body == fresh[0].body));
    assert_ne!(fresh[0].body, old.body);
    assert_eq!(
        backend.served(),
        2,
        "one fetch at the start, one after the expiry"
    );
    let metrics = get_from(&app, "/metrics").await;
    assert!(
        metrics.text().contains("picture_graces_total 1\n"),
        "{}",
        metrics.text()
    );
}

#[tokio::test]
async fn who_has_waited_long_enough_gets_the_old_picture_as_stale() {
    let backend = Backend::start().await;
    let config = Config {
        patience: Duration::from_millis(200),
        ..backend.config(Duration::from_millis(300))
    };
    let (app, _lifecycle) = app(config).await;
    let old = wait_for(&app, "fetched", is_there).await;
    backend.is(Mood::Slow(3000));
    wait_for(&app, "on its way", |answer| freshness(answer) == "grace").await;
    let started = Instant::now();
    let stale = get_from(&app, "/picture").await;
    assert_eq!((freshness(&stale), &stale.body), ("stale", &old.body));
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    // Once the limit has passed nobody waits any more.
    let started = Instant::now();
    assert_eq!(freshness(&get_from(&app, "/picture").await), "stale");
    assert!(
        started.elapsed() < Duration::from_millis(150),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn the_page_shows_greeting_picture_and_build() {
    let backend = Backend::start().await;
    let (app, _lifecycle) = app(backend.config(LONG)).await;
    let page = get_from(&app, "/").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let text = page.text();
    for part in [
        "<h1>Hi &#60;there&#62;</h1>",
        "<img src=\"/picture\"",
        concat!("picture ", env!("CARGO_PKG_VERSION"), ", commit "),
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[tokio::test]
async fn replaces_the_picture_when_its_time_is_up() {
    let backend = Backend::start().await;
    let (app, _lifecycle) = app(backend.config(Duration::from_millis(200))).await;
    let first = wait_for(&app, "fetched", is_there).await;
    // Also when nobody asks.
    sleep(Duration::from_millis(900)).await;
    assert!(backend.served() >= 3, "{}", backend.served());
    wait_for(&app, "replaced", |answer| answer.body != first.body).await;
}

#[tokio::test]
async fn fetches_once_for_any_number_of_requests() {
    let backend = Backend::start().await;
    let (app, _lifecycle) = app(backend.config(LONG)).await;
    let picture = wait_for(&app, "fetched", is_there).await;
    for _ in 0..100 {
        assert_eq!(get_from(&app, "/picture").await.body, picture.body);
    }
    assert_eq!(backend.served(), 1);
}

#[tokio::test]
async fn serves_the_old_picture_while_the_backend_fails() {
    let backend = Backend::start().await;
    let (app, _lifecycle) = app(backend.config(Duration::from_millis(300))).await;
    wait_for(&app, "fetched", is_there).await;
    for mood in [Mood::Broken, Mood::Garbage] {
        backend.is(mood);
        let stale = wait_for(&app, "stale", |answer| freshness(answer) == "stale").await;
        assert_eq!(stale.status, 200);
        assert_eq!(stale.headers["cache-control"], "no-cache");
        assert!(stale.body.starts_with(PNG));
        assert_eq!(get_from(&app, "/readyz").await.status, 200);
        backend.is(Mood::Good);
        wait_for(&app, "replaced", |answer| answer.body != stale.body).await;
    }
}

#[tokio::test]
async fn a_backend_that_wants_peace_gets_it() {
    let backend = Backend::start().await;
    let (app, _lifecycle) = app(backend.config(Duration::from_millis(300))).await;
    wait_for(&app, "fetched", is_there).await;
    backend.is(Mood::Limiting(2));
    wait_for(&app, "stale", |answer| freshness(answer) == "stale").await;
    let (asked, served) = (Instant::now(), backend.served());
    backend.is(Mood::Good);
    wait_for(&app, "replaced", |answer| freshness(answer) == "fresh").await;
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(1800), "{took:?}");
    assert_eq!(backend.served(), served + 1);
}

#[tokio::test]
async fn is_unready_with_a_reason_until_there_is_a_first_picture() {
    let backend = Backend::start().await;
    backend.is(Mood::Broken);
    let (app, _lifecycle) = app(backend.config(LONG)).await;
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
    backend.is(Mood::Good);
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
    assert_eq!(backend.served(), 1);
    lifecycle.stop().await;

    // Too old by now for a shorter time to live: shown until the next is there.
    let (third, _lifecycle) = app(config(Duration::from_millis(100))).await;
    wait_for(&third, "replaced", |answer| {
        is_there(answer) && answer.body != picture.body
    })
    .await;
}
