//! Who may ask: keys, a password, either, or anyone.

use gateway::Stub;

use crate::start;

const KEY: &str = "first-key-0123456789";
const OTHER_KEY: &str = "other-key-0123456789";
/// `ann:pass word:1`
const RIGHT: &str = "Basic YW5uOnBhc3Mgd29yZDox";

#[tokio::test]
async fn a_key_is_asked_for_and_goes_no_further() {
    let picture = Stub::start("picture").await;
    let keys = format!("{KEY},{OTHER_KEY}");
    let gateway = start!(&[("PICTURE_ADDRESS", &picture.address()), ("API_KEYS", &keys)]);
    let client = gateway.client();
    for key in [KEY, OTHER_KEY] {
        let answer = client.get("/", &[("X-API-Key", key)]).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text().contains(key), "{}", answer.text());
    }
    let both = format!("{KEY} {OTHER_KEY}");
    let longer = format!("{KEY}0");
    for wrong in [
        &[][..],
        &[("x-api-key", "")],
        &[("x-api-key", &both)],
        &[("x-api-key", &longer)],
    ] {
        let answer = client.get("/", wrong).await;
        assert_eq!(answer.status, 401, "{wrong:?}");
        assert_eq!(answer.problem(), "unauthorized");
        assert_eq!(
            answer.headers["www-authenticate"],
            "ApiKey realm=\"gateway\""
        );
    }
    // Also where there is nothing behind it.
    assert_eq!(client.get("/nope", &[]).await.status, 401);
    assert_eq!(
        client.get(&format!("/nope?key={KEY}"), &[]).await.status,
        401
    );
    assert!(!gateway.words().contains(KEY), "{}", gateway.words());
    // Probes come from the cluster.
    assert_eq!(gateway.internal().get("/readyz", &[]).await.status, 200);
}

#[tokio::test]
async fn a_password_is_asked_for_and_goes_no_further() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[
        ("PICTURE_ADDRESS", &picture.address()),
        ("BASIC_AUTH", "ann:pass word:1"),
    ]);
    let client = gateway.client();
    let right = client.get("/", &[("authorization", RIGHT)]).await;
    assert_eq!(right.status, 200);
    assert!(right.json()["headers"].get("authorization").is_none());
    for wrong in [
        &[][..],
        &[("authorization", "Basic YW5uOnBhc3Mgd29yZDoy")],
        &[("authorization", "Basic Ym9iOnBhc3Mgd29yZDox")],
        &[("authorization", "Basic !")],
        &[("authorization", "Bearer YW5uOnBhc3Mgd29yZDox")],
    ] {
        let answer = client.get("/", wrong).await;
        assert_eq!(answer.status, 401, "{wrong:?}");
        let challenge = &answer.headers["www-authenticate"];
        assert!(challenge.to_str().unwrap().starts_with("Basic realm="));
    }
    assert!(!gateway.words().contains("pass word"));
}

#[tokio::test]
async fn either_will_do() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[
        ("PICTURE_ADDRESS", &picture.address()),
        ("BASIC_AUTH", "ann:pass word:1"),
        ("API_KEYS", KEY),
    ]);
    let client = gateway.client();
    assert_eq!(
        client.get("/", &[("authorization", RIGHT)]).await.status,
        200
    );
    assert_eq!(client.get("/", &[("x-api-key", KEY)]).await.status, 200);
    assert_eq!(client.get("/", &[]).await.status, 401);
}

#[tokio::test]
async fn without_either_anyone_may_ask_and_services_see_what_is_theirs() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[("PICTURE_ADDRESS", &picture.address())]);
    let answer = gateway
        .client()
        .get("/", &[("authorization", "Bearer x")])
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["headers"]["authorization"][0], "Bearer x");
}
