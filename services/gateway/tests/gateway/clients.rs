//! What services and logs learn of a client: its request id and its address.

use std::net::Ipv4Addr;

use gateway::Stub;
use serde_json::{Value, json};

use crate::start;

#[tokio::test]
async fn a_request_id_is_made_kept_or_replaced() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[("PICTURE_ADDRESS", &picture.address())]);
    let client = gateway.client();
    let kept = client.get("/", &[("X-Request-Id", r#"a"b\,c"#)]).await;
    assert_eq!(kept.headers["x-request-id"], r#"a"b\,c"#);
    assert_eq!(kept.json()["headers"]["x-request-id"], json!([r#"a"b\,c"#]));

    let long = "x".repeat(129);
    let just_long_enough = "x".repeat(128);
    let answer = client
        .get("/", &[("x-request-id", &just_long_enough)])
        .await;
    assert_eq!(answer.headers["x-request-id"], just_long_enough);
    for nonsense in [
        &[][..],
        &[("x-request-id", "")],
        &[("x-request-id", "two words")],
        &[("x-request-id", long.as_str())],
        &[("x-request-id", "h\u{fc}")],
        &[("x-request-id", "one"), ("x-request-id", "two")],
    ] {
        let answer = client.get("/", nonsense).await;
        let id = answer.headers["x-request-id"].to_str().unwrap();
        assert!(is_uuid(id), "{nonsense:?}: {id}");
        assert_eq!(answer.json()["headers"]["x-request-id"], json!([id]));
    }
    let refused = client.get("/nope", &[("x-request-id", "mine")]).await;
    assert_eq!(refused.headers["x-request-id"], "mine", "on problems too");
}

#[tokio::test]
async fn the_access_log_is_json_and_holds_no_query() {
    let birthday = Stub::start("birthday").await;
    let gateway = start!(&[("BIRTHDAY_ADDRESS", &birthday.address())]);
    let client = gateway.client();
    client
        .get("/hello/a\"b\\c?secret=1", &[("x-request-id", r#"i"d\"#)])
        .await;
    client.get("/nope%ff%22", &[]).await;
    let _ = client.exchange("NONSENSE\r\n\r\n").await;
    let log = gateway.log(3).await;
    // Each thread of HAProxy writes its own.
    let with = |status: u16| log.iter().find(|line| line["status"] == status).unwrap();
    let line = with(200);
    for (key, expected) in [
        ("/level", json!("INFO")),
        ("/message", json!("answered")),
        ("/status", json!(200)),
        ("/service", json!("birthday")),
        ("/client", json!("127.0.0.1")),
        ("/span/request_id", json!(r#"i"d\"#)),
        ("/span/method", json!("GET")),
        ("/span/path", json!("/hello/a\"b\\c")),
    ] {
        assert_eq!(line.pointer(key), Some(&expected), "{line}");
    }
    assert!(line["duration_ms"].is_u64(), "{line}");
    let time = line["timestamp"].as_str().unwrap();
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    assert_eq!(shape, "9999-99-99T99:99:99.999Z");
    assert_eq!(with(404)["span"]["path"], "/nope%ff%22");
    assert!(!gateway.words().contains("secret"));
}

#[tokio::test]
async fn a_client_cannot_claim_another_address() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[("PICTURE_ADDRESS", &picture.address())]);
    let client = gateway.client().from(Ipv4Addr::new(127, 0, 0, 9));
    let answer = client.get("/", &[("x-forwarded-for", "6.6.6.6")]).await;
    assert_eq!(last_forwarded(&answer.json()), "127.0.0.9");
    assert_eq!(gateway.log(1).await[0]["client"], "127.0.0.9");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_about_the_last_address_alone() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[
        ("PICTURE_ADDRESS", &picture.address()),
        ("TRUSTED_NETWORKS", "10.0.0.0/8, 127.0.0.1/32"),
    ]);
    let proxy = gateway.client();
    let stranger = proxy.from(Ipv4Addr::new(127, 0, 0, 9));
    for (from, forwarded, expected) in [
        (&proxy, "203.0.113.7", "203.0.113.7"),
        (&proxy, "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        (&proxy, "2001:db8::1", "2001:db8::1"),
        (&proxy, "nonsense", "127.0.0.1"),
        (&stranger, "203.0.113.7", "127.0.0.9"),
    ] {
        let answer = from.get("/", &[("x-forwarded-for", forwarded)]).await;
        assert_eq!(last_forwarded(&answer.json()), expected, "{forwarded}");
    }
    let answer = proxy.get("/", &[]).await;
    assert_eq!(last_forwarded(&answer.json()), "127.0.0.1");
}

/// What a service behind one proxy takes for the client.
fn last_forwarded(answer: &Value) -> String {
    let lines = answer["headers"]["x-forwarded-for"].as_array().unwrap();
    let last = lines.last().unwrap().as_str().unwrap();
    last.rsplit(',').next().unwrap().trim().to_owned()
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}
