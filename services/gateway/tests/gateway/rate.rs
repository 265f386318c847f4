//! How often a client may ask.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use gateway::{Client, Stub};
use service_kit::testing::Answer;
use tokio::task::JoinSet;
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
    // What is refused does not count, so that it may come back when it was told to.
    let started = Instant::now();
    let mut refused = burst(greedy, "6.6.6.6", 60).await;
    refused.retain(|answer| answer.status != 200);
    // As time goes by a few more get through: two a second, and one for each thread of HAProxy that has just looked.
    let served = 60 - refused.len();
    let most = 20 + 2 * (started.elapsed().as_secs() as usize + 1) + 2;
    assert!((20..=most).contains(&served), "{served}, not 20 to {most}");
    for answer in &refused {
        assert_eq!(answer.status, 429);
        assert_eq!(answer.problem(), "too-many-requests");
        assert_eq!(answer.headers["retry-after"], "10");
    }
    assert!(is_refused(&greedy, "7.7.7.7").await, "whatever it claims");
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
        burst(proxy, client, 12).await;
        assert!(is_refused(&proxy, client).await, "{client}");
    }
    assert_eq!(ask(&proxy, "203.0.113.8").await, 200);
    assert!(is_refused(&proxy, "2001:db8::2").await, "its neighbour");
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

/// Whether most of ten requests are: now and then one gets through.
async fn is_refused(client: &Client, forwarded: &'static str) -> bool {
    let mut answers = burst(*client, forwarded, 10).await;
    answers.retain(|answer| answer.status == 429);
    answers.len() > 5
}

/// Many requests at once.
async fn burst(client: Client, forwarded: &'static str, count: usize) -> Vec<Answer> {
    let mut requests = JoinSet::new();
    for _ in 0..count {
        requests.spawn(async move { client.get("/", &[("x-forwarded-for", forwarded)]).await });
    }
    requests.join_all().await
}
