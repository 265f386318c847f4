//! How often one client may upload.

use std::num::NonZero;

use axum::Router;
use http::Request;
use service_kit::Settings;
use service_kit::testing::{Answer, call};
use upload::Config;

use crate::support::{app_with, in_memory, metric};

async fn one_a_second(proxies: usize) -> Router {
    let config = Config {
        per_second: NonZero::new(1).unwrap(),
        ..in_memory()
    };
    let settings = Settings {
        proxies,
        ..Settings::default()
    };
    app_with(config, settings).await.0
}

/// The quickest upload that counts: it is refused for what it is.
async fn try_upload(app: &Router, forwarded_for: &str) -> Answer {
    let request = Request::post("/upload").header("x-forwarded-for", forwarded_for);
    call(app, request.body(Default::default()).unwrap()).await
}

/// How many get through before the first that does not, which is the answer.
async fn until_limited(app: &Router, forwarded_for: &str) -> (usize, Answer) {
    for passed in 0..50 {
        let answer = try_upload(app, forwarded_for).await;
        if answer.status == 429 {
            return (passed, answer);
        }
        assert_eq!(answer.problem(), "not-multipart");
    }
    panic!("50 uploads in a row were let through");
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let app = one_a_second(1).await;
    let (passed, refused) = until_limited(&app, "10.0.0.1").await;
    assert!(passed >= 2, "{passed}");
    assert_eq!(refused.problem(), "too-many-requests");
    assert_eq!(refused.headers["retry-after"], "1");
    let counted = "upload_refused_total{code=\"too-many-requests\"}";
    assert_eq!(metric(&app, counted).await, 1.0);

    // Others are not affected.
    assert_eq!(
        try_upload(&app, "10.0.0.2").await.problem(),
        "not-multipart"
    );
    // What was said before the proxy is the client's own claim.
    let (_, refused) = until_limited(&app, "6.6.6.6, 10.0.0.1").await;
    assert_eq!(refused.problem(), "too-many-requests");

    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(
        try_upload(&app, "10.0.0.1").await.problem(),
        "not-multipart"
    );
}

#[tokio::test]
async fn without_trusted_proxies_the_connection_counts() {
    let app = one_a_second(0).await;
    until_limited(&app, "10.0.0.1").await;
    let (passed, _) = until_limited(&app, "10.0.0.2").await;
    assert!(passed <= 2, "{passed}: a header made another client of it");
}
