//! Fetches from servers that do not do what they should.

use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Redirect;
use axum::routing::get;
use futures_util::{StreamExt, stream};
use tokio::net::TcpListener;

use super::*;

const LIMITS: Limits = Limits {
    time: Duration::from_secs(60),
    bytes: 1000,
};

/// Serves on a free port; gives its address.
async fn serve(routes: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

/// What becomes of a fetch from `path` at `address`.
async fn fault(address: &str, path: &str, limits: Limits) -> FetchError {
    let url = format!("http://{address}{path}").parse().unwrap();
    let backend = Backend::new(url, limits).unwrap();
    backend.fetch(&RequestId::random()).await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_the_backend_names_does_not_learn_the_token() {
    let heard = Arc::<Mutex<String>>::default();
    let told = Arc::clone(&heard);
    let listen = move |request: Request| {
        *told.lock().unwrap() = format!("{} {:?}", request.uri(), request.headers());
        std::future::ready("seen")
    };
    let other = serve(Router::new().fallback(listen)).await;
    let away = get(move || std::future::ready(Redirect::to(&format!("http://{other}/there"))));
    let backend = serve(Router::new().route("/random", away)).await;

    let fault = fault(&backend, "/random?token=hunter2", LIMITS).await;
    assert!(matches!(fault, FetchError::NotAPicture), "{fault:?}");
    let heard = heard.lock().unwrap();
    assert!(heard.starts_with("/there "), "{heard}");
    assert!(!heard.contains("hunter2"), "{heard}");
}

#[tokio::test]
async fn a_backend_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    match fault(&address, "/?token=hunter2", LIMITS).await {
        FetchError::Request(error) if error.is_connect() => {
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_backend_that_takes_too_long() {
    let nothing = get(std::future::pending::<&str>);
    // A byte now and then: it is the whole answer that has a limit.
    let drops = || {
        let bytes = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, std::io::Error>("G"), ()))
        });
        std::future::ready(Body::from_stream(bytes))
    };
    let routes = Router::new()
        .route("/nothing", nothing)
        .route("/drops", get(drops));
    let address = serve(routes).await;
    let limits = Limits {
        time: Duration::from_millis(300),
        bytes: usize::MAX,
    };
    for path in ["/nothing", "/drops"] {
        match fault(&address, path, limits).await {
            FetchError::Request(error) => assert!(error.is_timeout(), "{path}: {error:?}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_backend_that_sends_too_much() {
    let endless = || {
        let bytes = stream::repeat("GIF89a").map(Ok::<_, std::io::Error>);
        std::future::ready(Body::from_stream(bytes))
    };
    let routes = Router::new()
        .route("/said", get(|| std::future::ready(vec![0; 1001])))
        .route("/endless", get(endless));
    let address = serve(routes).await;
    for path in ["/said", "/endless"] {
        let fault = fault(&address, path, LIMITS).await;
        assert!(
            matches!(fault, FetchError::TooLarge(1000)),
            "{path}: {fault:?}"
        );
    }
}

#[tokio::test]
async fn a_backend_that_breaks_off() {
    // Without a length, so that nothing but the picture itself says that something is missing.
    let bytes = || stream::iter([Ok::<_, std::io::Error>("GIF89a\x01\0\x01\0\0\0\0,")]);
    let part = move || std::future::ready(Body::from_stream(bytes()));
    let address = serve(Router::new().route("/", get(part))).await;
    let fault = fault(&address, "/", LIMITS).await;
    assert!(matches!(fault, FetchError::Broken(Kind::Gif)), "{fault:?}");
}

#[test]
fn backend_urls() {
    for good in ["http://x", "https://picsum.photos/800/600"] {
        assert!(good.parse::<BackendUrl>().is_ok(), "{good}");
    }
    for bad in ["", "x", "ftp://x", "file:///etc/passwd", "http://"] {
        assert!(bad.parse::<BackendUrl>().is_err(), "{bad}");
    }
}

#[test]
fn a_backend_url_is_not_printed() {
    let url: BackendUrl = "https://user:hunter2@x/?token=hunter2".parse().unwrap();
    let backend = Backend::new(url.clone(), LIMITS).unwrap();
    for text in [format!("{url:?}"), format!("{backend:?}")] {
        assert!(text.contains("BackendUrl"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    // Sun, 06 Nov 1994 08:49:37 GMT
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
    for (text, seconds) in [
        ("7", Some(7)),
        (" 0 ", Some(0)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("-1", None),
        ("soon", None),
        ("", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, text.parse().unwrap());
        let expected = seconds.map(Duration::from_secs);
        assert_eq!(retry_after(&headers, now), expected, "{text}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}
