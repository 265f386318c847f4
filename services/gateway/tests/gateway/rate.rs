//! How often a client may ask.

use std::net::Ipv4Addr;
use std::time::Duration;

use gateway::{Client, Stub};
use tokio::time::sleep;

use crate::start;

#[tokio::test]
async fn a_client_that_asks_too_often_waits_and_others_do_not() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[
        ("PICTURE_ADDRESS", &picture.address()),
        ("RATE_LIMIT", "20")
    ]);
    let greedy = gateway.client();
    let modest = greedy.from(Ipv4Addr::new(127, 0, 0, 9));
    let mut allowed = 0;
    // What is refused does not count, so that it may come back when it was told to.
    for _ in 0..200 {
        allowed += usize::from(ask(&greedy, "6.6.6.6").await == 200);
    }
    // Counts are kept in two parts, so one more may get through where a new part begins.
    assert!((20..=22).contains(&allowed), "{allowed}");
    let refused = greedy.get("/", &[]).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.problem(), "too-many-requests");
    assert_eq!(refused.headers["retry-after"], "10");
    assert_eq!(ask(&greedy, "7.7.7.7").await, 429, "whatever it claims");
    assert_eq!(ask(&modest, "6.6.6.6").await, 200);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(ask(&greedy, "6.6.6.6").await, 200, "after Retry-After");
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_of_its_clients_counts_and_an_ipv6_network_is_one() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[
        ("PICTURE_ADDRESS", &picture.address()),
        ("TRUSTED_NETWORKS", "127.0.0.1"),
        ("RATE_LIMIT", "10"),
    ]);
    let proxy = gateway.client();
    for client in ["203.0.113.7", "2001:db8::1"] {
        for _ in 0..12 {
            ask(&proxy, client).await;
        }
        assert_eq!(ask(&proxy, client).await, 429, "{client}");
    }
    assert_eq!(ask(&proxy, "203.0.113.8").await, 200);
    assert_eq!(ask(&proxy, "2001:db8::2").await, 429, "its neighbour");
    assert_eq!(ask(&proxy, "2001:db8:0:1::1").await, 200);
}

#[tokio::test]
async fn no_limit_is_none() {
    let picture = Stub::start("picture").await;
    let gateway = start!(&[("PICTURE_ADDRESS", &picture.address()), ("RATE_LIMIT", "0")]);
    for _ in 0..300 {
        assert_eq!(ask(&gateway.client(), "6.6.6.6").await, 200);
    }
}

async fn ask(client: &Client, forwarded: &str) -> u16 {
    let answer = client.get("/", &[("x-forwarded-for", forwarded)]).await;
    answer.status.as_u16()
}
