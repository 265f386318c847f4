//! Faults that pass, and faults that do not.

use std::time::{Duration, Instant};

use oci_image::registry::{Client, ErrorKind, Options, RegistryError, Retry, Timeouts};
use oci_image::{Descriptor, Manifest, media_type};

use crate::server::{Fault, Server, client, install_provider, options};

async fn ask(server: &Server) -> Result<(), RegistryError> {
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    let image = Manifest::image(config, Vec::new()).to_json();
    server.put_manifest(("a", "1"), media_type::MANIFEST, &image);
    client().manifest(&server.reference("a:1")).await.map(drop)
}

fn status(status: u16) -> Fault {
    Fault::Answer(status, Vec::new(), String::new())
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    for fault in [408, 429, 500, 502, 503, 504].map(status) {
        let server = Server::start().await;
        server.fault("GET", "", 4, fault);
        ask(&server).await.unwrap();
        assert_eq!(server.requests().len(), 5);
    }
    let server = Server::start().await;
    server.fault("GET", "", 2, Fault::CutAnswer);
    server.fault("GET", "", 2, Fault::CutDownload(7));
    ask(&server).await.unwrap();
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn tries_have_an_end() {
    let server = Server::start().await;
    let page = "<html><body>Bad gateway</body></html>".to_owned();
    let headers = vec![("content-type", "text/html".to_owned())];
    server.fault("GET", "", 100, Fault::Answer(502, headers, page));
    let error = ask(&server).await.unwrap_err();
    let expected = ErrorKind::Unavailable {
        status: 502,
        retry_after: None,
    };
    assert_eq!(*error.kind(), expected);
    assert!(error.said().is_empty());
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again() {
    for (code, kind) in [
        (400, ErrorKind::Protocol("the answer has status 400".into())),
        (401, ErrorKind::Unauthorized),
        (403, ErrorKind::Denied),
        (404, ErrorKind::NotFound),
        (413, ErrorKind::TooLarge),
        (501, ErrorKind::Protocol("the answer has status 501".into())),
    ] {
        let server = Server::start().await;
        server.fault("GET", "", 1, status(code));
        assert_eq!(*ask(&server).await.unwrap_err().kind(), kind);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_registry_is_left_alone_for_as_long_as_it_says() {
    let server = Server::start().await;
    let headers = vec![("retry-after", "1".to_owned())];
    server.fault("GET", "", 1, Fault::Answer(429, headers, String::new()));
    let start = Instant::now();
    ask(&server).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));

    let server = Server::start().await;
    let headers = vec![("retry-after", "3600".to_owned())];
    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#;
    server.fault("GET", "", 1, Fault::Answer(429, headers, body.to_owned()));
    let error = ask(&server).await.unwrap_err();
    let expected = ErrorKind::RateLimited {
        retry_after: Some(Duration::from_secs(3600)),
    };
    assert_eq!(*error.kind(), expected);
    assert_eq!(error.said()[0].message, "pull rate limit");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn silence_is_borne_for_a_while() {
    install_provider();
    let server = Server::start().await;
    server.fault("GET", "", 100, Fault::Silence);
    let options = Options {
        timeouts: Timeouts {
            idle: Duration::from_millis(50),
            ..Timeouts::default()
        },
        retry: Retry {
            times: 1,
            ..options().retry
        },
        ..options()
    };
    let error = Client::new(options)
        .manifest(&server.reference("a:1"))
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unreachable);
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "nothing moved for 0.05 s");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn nobody_there_is_told() {
    let server = Server::start().await;
    let place = server.reference("a:1");
    drop(server);
    // the task that listens ends at its next turn
    tokio::time::sleep(Duration::from_millis(20)).await;
    let error = client().manifest(&place).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_registry_without_tls_is_no_registry_with_it() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join(server.address.to_string());
    std::fs::create_dir(own).unwrap();
    let options = Options {
        certificates_folder: Some(folder.path().to_owned()),
        ..options()
    };
    let error = Client::new(options)
        .manifest(&server.reference("a:1"))
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Tls, "{error:?}");
}

#[tokio::test]
async fn certificates_that_are_none_are_told() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join(server.address.to_string());
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("client.cert"), "no certificate").unwrap();
    let options = Options {
        certificates_folder: Some(folder.path().to_owned()),
        ..options()
    };
    let error = Client::new(options)
        .manifest(&server.reference("a:1"))
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Tls);
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("client.key"), "{source}");
}

#[tokio::test]
async fn redirects_have_an_end_and_a_direction() {
    let server = Server::start().await;
    let location = vec![("location", "/v2/a/manifests/1".to_owned())];
    server.fault("GET", "", 100, Fault::Answer(302, location, String::new()));
    let error = ask(&server).await.unwrap_err();
    assert!(error.to_string().contains("without end"), "{error}");
    assert_eq!(server.requests().len(), 11);

    let server = Server::start().await;
    server.fault("GET", "", 1, status(302));
    let error = ask(&server).await.unwrap_err();
    assert!(error.to_string().contains("to nowhere"), "{error}");
}
