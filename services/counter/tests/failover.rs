//! Redis and its Sentinels are killed under load, in an order that chance decides: no acknowledged increment is lost.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use counter::{Config, start};
use serde_json::Value;
use service_kit::redis::url;
use service_kit::testing::{Member, Random, RedisSentinel, call, request};
use service_kit::{Kit, Settings, about};
use tokio::time::sleep;

const CLIENTS: usize = 8;
const KILLS: usize = 6;
/// From a kill until increments are taken again.
const OUTAGE: Duration = Duration::from_secs(10);

/// One client, with a counter of its own.
#[derive(Default)]
struct Client {
    /// Increments that were answered with 200.
    acknowledged: AtomicU64,
    /// Increments that may have been counted.
    unknown: AtomicU64,
}

async fn app(address: &str) -> Router {
    let mut kit = Kit::new(about!(), Settings::default());
    let config = Config {
        redis: Some(url(address).unwrap()),
    };
    let routes = start(config, &mut kit).await.unwrap();
    kit.app(routes)
}

/// Counts until it is told to stop.
async fn count(app: Router, name: String, client: Arc<Client>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::SeqCst) {
        let path = format!("/counters/{name}");
        let answer = call(&app, request("POST", &path, &Value::Null)).await;
        if answer.status == 200 {
            client.acknowledged.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        match answer.problem().as_str() {
            "store-unavailable" => {}
            "outcome-unknown" => drop(client.unknown.fetch_add(1, Ordering::SeqCst)),
            other => panic!("{other}: {}", answer.text()),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn acknowledged(clients: &[Arc<Client>]) -> u64 {
    let each = clients.iter();
    each.map(|client| client.acknowledged.load(Ordering::SeqCst))
        .sum()
}

/// Waits until increments are taken again.
async fn wait_for_writes(clients: &[Arc<Client>], after: &str) {
    let (before, started) = (acknowledged(clients), Instant::now());
    while acknowledged(clients) < before + CLIENTS as u64 {
        assert!(
            started.elapsed() < OUTAGE,
            "no increment is taken after {after}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_no_acknowledged_increment() {
    let Some(mut servers) = RedisSentinel::start() else {
        return;
    };
    let mut random = Random::seeded();
    let app = app(&servers.url()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<Arc<Client>> = (0..CLIENTS).map(|_| Arc::default()).collect();
    let tasks: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(number, client)| {
            let name = format!("c{number}");
            tokio::spawn(count(app.clone(), name, client.clone(), stop.clone()))
        })
        .collect();
    wait_for_writes(&clients, "the start").await;

    for round in 0..KILLS {
        sleep(Duration::from_millis(random.below(500))).await;
        let master = servers.master().unwrap();
        // Every second time the one that hurts most.
        let victim = match round % 2 {
            0 => Member::Redis(master),
            _ => match random.below(5) as usize {
                number @ 0..3 => Member::Sentinel(number),
                number => Member::Redis((master + number - 2) % 3),
            },
        };
        servers.kill(victim);
        wait_for_writes(&clients, &format!("{victim:?} was killed")).await;
        servers.resume(victim);
        servers.wait_until_settled();
    }
    servers.kill_all();
    sleep(Duration::from_millis(random.below(500))).await;
    servers.resume_all();
    wait_for_writes(&clients, "all were killed").await;

    stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    servers.wait_until_settled();
    for (number, client) in clients.iter().enumerate() {
        let path = format!("/counters/c{number}");
        let value = call(&app, request("GET", &path, &Value::Null)).await.json()["value"].clone();
        let value = value.as_u64().unwrap();
        let acknowledged = client.acknowledged.load(Ordering::SeqCst);
        let unknown = client.unknown.load(Ordering::SeqCst);
        assert!(
            (acknowledged..=acknowledged + unknown).contains(&value),
            "{value} counted, {acknowledged} acknowledged, {unknown} unknown"
        );
    }
}
