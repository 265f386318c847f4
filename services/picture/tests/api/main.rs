//! The page and the picture, drawn here or fetched from a backend that fails.
#![allow(clippy::unwrap_used)]

mod backend;

use std::fs;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use picture::Config;
use service_kit::testing::{Answer, call, request};

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use backend::*;

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
    backend.is(Mood::Gated);
    let config = Config {
        patience: LONG,
        ..backend.config(LONG)
    };
    let (app, _lifecycle) = app(config).await;
    let request = tokio::spawn({
        let app = app.clone();
        async move { get_from(&app, "/picture").await }
    });
    // The one that asks is the second.
    wait_for_metric(&app, "http_requests_in_flight 2").await;
    backend.let_one_through();
    assert_eq!(request.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_thousand_requests_after_the_expiry_get_the_old_picture_once_and_fetch_once() {
    let backend = Backend::start().await;
    let config = Config {
        patience: LONG,
        ..backend.config(LONG)
    };
    let (app, old, _folder) = backend.expired(config, 2 * LONG).await;
    let requests: Vec<JoinHandle<Answer>> = (0..1000)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { get_from(&app, "/picture").await })
        })
        .collect();
    // One has been answered, 999 wait, and there is the one that asks.
    wait_for_metric(&app, "http_requests_in_flight 1000").await;
    backend.let_one_through();

    let answers = join_all(requests).await;
    let answers: Vec<Answer> = answers.into_iter().map(Result::unwrap).collect();
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
    wait_for_metric(&app, "picture_graces_total 1").await;
}

#[tokio::test]
async fn who_has_waited_long_enough_gets_the_old_picture_as_stale() {
    let backend = Backend::start().await;
    let patience = Duration::from_secs(3);
    let config = Config {
        patience,
        ..backend.config(LONG)
    };
    let (app, old, _folder) = backend.expired(config, 2 * LONG).await;
    assert_eq!(freshness(&get_from(&app, "/picture").await), "grace");
    let stale = get_from(&app, "/picture").await;
    assert_eq!((freshness(&stale), &stale.body), ("stale", &old.body));
    wait_for_metric(&app, "picture_refresh_failures_total 0").await;
    // Once the limit has passed nobody waits any more.
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(freshness(&get_from(&app, "/picture").await), "stale");
    }
    let took = started.elapsed();
    assert!(took < 10 * patience, "{took:?}");
}

#[tokio::test]
async fn who_would_wait_for_longer_than_a_request_may_take_gets_the_old_picture() {
    let backend = Backend::start().await;
    let config = Config {
        patience: LONG,
        ..backend.config(LONG)
    };
    let (app, _, _folder) = backend.expired(config, Duration::from_secs(2)).await;
    assert_eq!(freshness(&get_from(&app, "/picture").await), "grace");
    let stale = get_from(&app, "/picture").await;
    assert_eq!((stale.status.as_u16(), freshness(&stale)), (200, "stale"));
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
    backend.wait_until_asked(3).await;
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
    let mut backend = Backend::start().await;
    let (app, _lifecycle) = app(backend.config(Duration::from_millis(300))).await;
    wait_for(&app, "fetched", is_there).await;
    for mood in [
        None,
        Some(Mood::Broken),
        Some(Mood::Garbage),
        Some(Mood::Part),
    ] {
        match mood {
            Some(mood) => backend.is(mood),
            None => backend.close().await,
        }
        let stale = wait_for(&app, "stale", |answer| freshness(answer) == "stale").await;
        assert_eq!(stale.status, 200, "{mood:?}");
        assert_eq!(stale.headers["cache-control"], "no-cache");
        let picture = image::load_from_memory(&stale.body).unwrap();
        assert_eq!((picture.width(), picture.height()), (1, 1));
        assert_eq!(get_from(&app, "/readyz").await.status, 200);
        match mood {
            Some(_) => backend.is(Mood::Good),
            None => backend.open().await,
        }
        wait_for(&app, "replaced", |answer| answer.body != stale.body).await;
    }
}

#[tokio::test]
async fn a_backend_that_wants_peace_gets_it() {
    let backend = Backend::start().await;
    let (app, _lifecycle) = app(backend.config(Duration::from_millis(300))).await;
    wait_for(&app, "fetched", is_there).await;
    backend.is(Mood::Limiting(2));
    let stale = wait_for(&app, "stale", |answer| freshness(answer) == "stale").await;
    backend.is(Mood::Good);
    wait_for(&app, "replaced", |answer| answer.body != stale.body).await;
    let asked = backend.wait_until_asked(0).await;
    let limited = asked
        .windows(2)
        .filter(|pair| pair[0].1 == Mood::Limiting(2));
    let waits: Vec<Duration> = limited.map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(!waits.is_empty(), "{asked:?}");
    let all_wait = waits.iter().all(|wait| *wait >= Duration::from_secs(2));
    assert!(all_wait, "{waits:?}");
}

#[tokio::test]
async fn a_backend_that_fails_is_asked_less_and_less() {
    let backend = Backend::start().await;
    backend.is(Mood::Broken);
    let (_app, _lifecycle) = app(backend.config(LONG)).await;
    let asked = backend.wait_until_asked(4).await;
    let waits: Vec<Duration> = asked.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    for (wait, at_least) in waits.iter().zip([500, 1000, 2000]) {
        assert!(*wait >= Duration::from_millis(at_least), "{waits:?}");
    }
}

#[tokio::test]
async fn a_picture_that_cannot_be_kept_is_served_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start().await;
    let config = Config {
        cache: Some(folder.path().to_owned()),
        ..backend.config(LONG)
    };
    fs::create_dir(folder.path().join("picture")).unwrap();
    let (app, _lifecycle) = app(config).await;
    wait_for(&app, "fetched", is_there).await;
    wait_for_metric(&app, "picture_keep_failures_total 1").await;
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
        assert!(started.elapsed() < LONG, "{report}");
        sleep(Duration::from_millis(10)).await;
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
