//! Logins: who gets them, and who does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use oci_image::registry::{
    Client, Credentials, CredentialsFuture, ErrorKind, Login, Options, Outcome, Secret,
};
use oci_image::{Descriptor, Digest, Manifest, media_type};

use crate::server::{Fault, LoginMode, Server, TokenLogin, client, content, options};

/// One login for every host, and how often it was asked for.
struct Keys(Option<Login>, AtomicUsize);

impl Credentials for Keys {
    fn login<'a>(&'a self, _account: &'a str) -> CredentialsFuture<'a> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(self.0.clone()) })
    }
}

fn password() -> Login {
    Login::Password {
        user: "jo".to_owned(),
        password: Secret::new("se:cret"),
    }
}

fn with(login: Login) -> (Client, Arc<Keys>) {
    crate::server::install_provider();
    let keys = Arc::new(Keys(Some(login), AtomicUsize::new(0)));
    let options = Options {
        credentials: keys.clone(),
        ..options()
    };
    (Client::new(options), keys)
}

fn tokens(server: &Server, wants: TokenLogin) {
    let realm = format!("http://{}/token", server.address);
    server.set(|settings| settings.login = LoginMode::Token { realm, wants });
}

fn put_image(server: &Server) {
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    let image = Manifest::image(config, Vec::new()).to_json();
    server.put_manifest(("a", "1"), media_type::MANIFEST, &image);
}

async fn push(client: &Client, server: &Server, name: &str) -> Outcome {
    let blob = Descriptor::of(media_type::LAYER, &content(100));
    let source = Arc::new(Bytes::from(content(100)));
    let to = server.reference(name);
    client.push_blob(&to, &blob, source).await.unwrap()
}

#[tokio::test]
async fn a_password_goes_with_each_request_once_it_was_asked_for() {
    let server = Server::start().await;
    put_image(&server);
    server.set(|settings| settings.login = LoginMode::Basic("jo".into(), "se:cret".into()));
    let (client, keys) = with(password());
    for _ in 0..2 {
        client.manifest(&server.reference("a:1")).await.unwrap();
    }
    let sent: Vec<bool> = server
        .seen("GET", "")
        .iter()
        .map(|seen| seen.header("authorization").is_some())
        .collect();
    assert_eq!(sent, [false, true, true]);
    assert_eq!(keys.1.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_part_of_a_registry_may_have_a_login_of_its_own() {
    /// Of the first part of a repository.
    struct Teams;
    impl Credentials for Teams {
        fn account(&self, _host: &str, repository: &str) -> String {
            repository.split('/').next().unwrap().to_owned()
        }

        fn login<'a>(&'a self, account: &'a str) -> CredentialsFuture<'a> {
            let login = Login::Password {
                user: account.to_owned(),
                password: Secret::new("se:cret"),
            };
            Box::pin(async { Ok(Some(login)) })
        }
    }
    let server = Server::start().await;
    put_image(&server);
    server.set(|settings| settings.login = LoginMode::Basic("a".into(), "se:cret".into()));
    let options = Options {
        credentials: Arc::new(Teams),
        ..options()
    };
    let client = Client::new(options);
    for _ in 0..2 {
        client.manifest(&server.reference("a:1")).await.unwrap();
        let other = client.manifest(&server.reference("b/a:1")).await;
        assert_eq!(*other.unwrap_err().kind(), ErrorKind::Unauthorized);
    }
}

#[tokio::test]
async fn a_password_that_is_wrong_is_tried_once() {
    let server = Server::start().await;
    put_image(&server);
    server.set(|settings| settings.login = LoginMode::Basic("jo".into(), "other".into()));
    let (with_login, _) = with(password());
    for (client, requests) in [(with_login, 2), (client(), 3)] {
        let error = client.manifest(&server.reference("a:1")).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Unauthorized);
        assert_eq!(error.said()[0].code, "UNAUTHORIZED");
        assert_eq!(server.requests().len(), requests);
        assert!(!format!("{error:?}").contains("se:cret"));
    }
}

#[tokio::test]
async fn tokens_come_for_nothing_for_a_password_and_for_an_identity() {
    for (wants, login) in [
        (TokenLogin::Nothing, None),
        (
            TokenLogin::Password("jo".into(), "se:cret".into()),
            Some(password()),
        ),
        (
            TokenLogin::Refresh("id&=".into()),
            Some(Login::IdentityToken(Secret::new("id&="))),
        ),
    ] {
        let server = Server::start().await;
        put_image(&server);
        tokens(&server, wants);
        let client = login.map_or_else(client, |login| with(login).0);
        for _ in 0..3 {
            client.manifest(&server.reference("a:1")).await.unwrap();
        }
        assert_eq!(push(&client, &server, "a").await, Outcome::Uploaded);
        let tokens = server
            .requests()
            .iter()
            .filter(|line| line.ends_with("/token"))
            .count();
        assert_eq!(tokens, 2, "one to pull, one to push");
    }
}

#[tokio::test]
async fn a_token_that_was_given_is_used_as_it_is() {
    let server = Server::start().await;
    put_image(&server);
    tokens(&server, TokenLogin::Nothing);
    let right = "repository:a:pull".to_owned();
    server
        .state()
        .tokens
        .insert("given".to_owned(), [right].into());
    let (client, _) = with(Login::RegistryToken(Secret::new("given")));
    client.manifest(&server.reference("a:1")).await.unwrap();
    assert!(server.requests().iter().all(|line| !line.contains("token")));
}

#[tokio::test]
async fn a_token_that_ran_out_is_renewed_once() {
    let server = Server::start().await;
    put_image(&server);
    tokens(&server, TokenLogin::Nothing);
    let client = client();
    client.manifest(&server.reference("a:1")).await.unwrap();
    server.state().tokens.clear();
    client.manifest(&server.reference("a:1")).await.unwrap();
    assert_eq!(server.seen("GET", "/token").len(), 2);
    let refusal = Fault::Answer(
        401,
        vec![(
            "www-authenticate",
            format!(
                r#"Bearer realm="http://{}/token",service="test, registry""#,
                server.address
            ),
        )],
        r#"{"errors":[{"code":"DENIED","message":"requested access is denied"}]}"#.to_owned(),
    );
    server.fault("GET", "manifests", 100, refusal);
    let error = client.manifest(&server.reference("a:1")).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Denied);
    assert_eq!(server.seen("GET", "/token").len(), 3);
}

#[tokio::test]
async fn a_token_that_runs_out_within_an_upload_is_renewed() {
    let server = Server::start().await;
    tokens(&server, TokenLogin::Nothing);
    let realm = format!("http://{}/token", server.address);
    let challenge = format!(r#"Bearer realm="{realm}",service="test, registry""#);
    let headers = vec![("www-authenticate", challenge)];
    let fault = Fault::Answer(401, headers, String::new());
    server.fault("PATCH", "uploads/0", 1, fault);
    let blob = Descriptor::of(media_type::LAYER, &content(2500));
    let source = Arc::new(Bytes::from(content(2500)));
    let to = server.reference("a");
    client().push_blob(&to, &blob, source).await.unwrap();
    assert_eq!(server.seen("PATCH", "").len(), 4);
    assert_eq!(server.seen("GET", "/token").len(), 2);
    assert_eq!(server.blob("a", blob.digest).unwrap(), content(2500));
}

#[tokio::test]
async fn requests_that_start_together_share_a_token() {
    let server = Server::start().await;
    put_image(&server);
    tokens(&server, TokenLogin::Nothing);
    let client = client();
    let place = server.reference("a:1");
    let all = (0..8).map(|_| client.manifest(&place));
    futures_util::future::try_join_all(all).await.unwrap();
    assert_eq!(server.seen("GET", "/token").len(), 1);
}

#[tokio::test]
async fn a_mount_asks_for_both_repositories() {
    let server = Server::start().await;
    tokens(&server, TokenLogin::Password("jo".into(), "se:cret".into()));
    let (client, _) = with(password());
    assert_eq!(push(&client, &server, "base").await, Outcome::Uploaded);
    assert_eq!(push(&client, &server, "a").await, Outcome::Mounted);
    let asked = server.seen("GET", "/token");
    let asked = &asked.last().unwrap().query;
    let scopes = "scope=repository%3Aa%3Apull%2Cpush&scope=repository%3Abase%3Apull";
    assert!(asked.contains(scopes), "{asked}");
    assert!(asked.contains("account=jo"), "{asked}");
}

#[tokio::test]
async fn a_token_server_that_refuses_is_told() {
    let server = Server::start().await;
    put_image(&server);
    tokens(&server, TokenLogin::Password("jo".into(), "other".into()));
    let (client, _) = with(password());
    let error = client.manifest(&server.reference("a:1")).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unauthorized);
    let expected = format!(
        "logging in to `{}/a`: the registry wants a valid login (incorrect username or password)",
        server.address
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_token_server_without_tls_gets_no_login() {
    let server = Server::start().await;
    put_image(&server);
    let realm = "http://192.0.2.1/token".to_owned();
    let wants = TokenLogin::Nothing;
    server.set(|settings| settings.login = LoginMode::Token { realm, wants });
    let (client, _) = with(password());
    let error = client.manifest(&server.reference("a:1")).await.unwrap_err();
    assert!(error.to_string().contains("without TLS"), "{error}");
}

#[tokio::test]
async fn a_login_stays_with_its_host() {
    let server = Server::start().await;
    let store = Server::start().await;
    let blob = store.put_blob("a", &content(100));
    server.set(|settings| settings.login = LoginMode::Basic("jo".into(), "se:cret".into()));
    let target = format!(
        "http://{}/v2/a/blobs/{}?signature=x",
        store.address, blob.digest
    );
    let (client, _) = with(password());
    put_image(&server);
    client.manifest(&server.reference("a:1")).await.unwrap();
    server.fault(
        "GET",
        "blobs",
        1,
        Fault::Answer(307, vec![("location", target)], String::new()),
    );
    let mut reader = client
        .pull_blob(&server.reference("a"), &blob)
        .await
        .unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), content(100));
    assert!(
        server.seen("GET", "blobs")[0]
            .header("authorization")
            .is_some()
    );
    let stored = store.seen("GET", "blobs");
    assert_eq!(stored[0].header("authorization"), None);
    assert_eq!(stored[0].query, "signature=x");
}

#[tokio::test]
async fn an_upload_to_another_host_takes_no_login_along() {
    let server = Server::start().await;
    let store = Server::start().await;
    server.set(|settings| settings.login = LoginMode::Basic("jo".into(), "se:cret".into()));
    let store_address = store.address.to_string();
    server.set(|settings| settings.address = store_address);
    store.state().uploads.insert(0, Vec::new());
    let (client, _) = with(password());
    assert_eq!(push(&client, &server, "a").await, Outcome::Uploaded);
    assert!(server.seen("POST", "")[0].header("authorization").is_some());
    assert_eq!(store.seen("PUT", "")[0].header("authorization"), None);
    assert!(store.blob("a", Digest::of(&content(100))).is_some());
}

#[tokio::test]
async fn an_identity_stays_with_its_token_server() {
    let server = Server::start().await;
    let thief = Server::start().await;
    put_image(&server);
    tokens(&server, TokenLogin::Refresh("id".into()));
    let target = format!("http://{}/token", thief.address);
    server.fault(
        "POST",
        "/token",
        1,
        Fault::Answer(307, vec![("location", target)], String::new()),
    );
    let (client, _) = with(Login::IdentityToken(Secret::new("id")));
    let error = client.manifest(&server.reference("a:1")).await.unwrap_err();
    assert!(error.to_string().contains("another host"), "{error}");
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn a_helper_that_fails_is_told() {
    let server = Server::start().await;
    put_image(&server);
    server.set(|settings| settings.login = LoginMode::Basic("jo".into(), "x".into()));
    struct Broken;
    impl Credentials for Broken {
        fn login<'a>(&'a self, _account: &'a str) -> CredentialsFuture<'a> {
            Box::pin(async { Err("the helper is not there".into()) })
        }
    }
    let options = Options {
        credentials: Arc::new(Broken),
        ..options()
    };
    let error = Client::new(options)
        .manifest(&server.reference("a:1"))
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Credentials);
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "the helper is not there");
}
