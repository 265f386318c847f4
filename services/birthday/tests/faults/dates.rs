//! No acknowledged date is lost.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::ToSpan;
use jiff::civil::{Date, date};
use service_kit::testing::{PostgresServer, Random};
use tokio::time::sleep;

use crate::process::{LIMIT, Service, send};

const CLIENTS: usize = 6;
const KILLS: usize = 8;

/// What a client has put, by user.
type Dates = HashMap<String, Put>;

struct Put {
    born: Date,
    acknowledged: bool,
}

/// Clients that put dates, each for a user of its own, until they are told to stop.
struct Load {
    acknowledged: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Dates>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|client| {
            let (acknowledged, stop) = (acknowledged.clone(), stop.clone());
            thread::spawn(move || put_dates(address, client, &acknowledged, &stop))
        });
        let clients = clients.collect();
        Self {
            acknowledged,
            stop,
            clients,
        }
    }

    /// Waits until dates are taken, or taken again.
    async fn wait_for_dates(&self, after: &str) {
        let (before, started) = (self.acknowledged.load(Ordering::SeqCst), Instant::now());
        while self.acknowledged.load(Ordering::SeqCst) < before + 2 * CLIENTS {
            assert!(started.elapsed() < LIMIT, "no date is taken after {after}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn end(self) -> Dates {
        self.stop.store(true, Ordering::SeqCst);
        let dates = self.clients.into_iter();
        dates.flat_map(|client| client.join().unwrap()).collect()
    }
}

fn put_dates(
    address: SocketAddr,
    client: usize,
    acknowledged: &AtomicUsize,
    stop: &AtomicBool,
) -> Dates {
    let mut dates = Dates::new();
    while !stop.load(Ordering::SeqCst) {
        let number = dates.len() * CLIENTS + client;
        let (user, born) = (letters(number), born(number));
        let body = format!(r#"{{"dateOfBirth":"{born}"}}"#);
        let answer = send(address, &format!("PUT /hello/{user}"), &body);
        let stored = answer.as_ref().is_ok_and(|status| *status == 204);
        let away = answer.is_err() || answer.is_ok_and(|status| status == 503);
        assert!(stored || away, "{user} got something else");
        let put = Put {
            born,
            acknowledged: stored,
        };
        dates.insert(user, put);
        if stored {
            acknowledged.fetch_add(1, Ordering::SeqCst);
        } else {
            thread::sleep(Duration::from_millis(20));
        }
    }
    dates
}

/// A name for each number, in letters, which is what a user is made of.
fn letters(number: usize) -> String {
    let digits = number.to_string();
    digits
        .bytes()
        .map(|digit| char::from(digit - b'0' + b'a'))
        .collect()
}

/// A date, different from those of the numbers near it.
fn born(number: usize) -> Date {
    date(1900, 1, 1) + ((number % 40_000) as i64).days()
}

/// What is in the table.
async fn stored(server: &PostgresServer) -> HashMap<String, Date> {
    let client = server.connect().await;
    let rows = client
        .query("SELECT username, date_of_birth FROM birthdays", &[])
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_no_acknowledged_date() {
    let Some(mut server) = PostgresServer::durable() else {
        return;
    };
    let mut random = Random::seeded();
    let mut service = Service::start(&server.url());
    let load = Load::start(service.address());
    load.wait_for_dates("the start").await;

    for round in 0..KILLS {
        sleep(random.moment(Duration::from_millis(500))).await;
        let victims = ["PostgreSQL", "the service", "PostgreSQL and the service"];
        // Each of them at least twice, whatever chance says.
        let chosen = if round < 6 {
            round % 3
        } else {
            random.below(3) as usize
        };
        if chosen != 1 {
            server.kill_all_processes();
        }
        if chosen != 0 {
            service.kill();
        }
        sleep(random.moment(Duration::from_millis(500))).await;
        if chosen != 0 {
            service.resume();
        }
        if chosen != 1 {
            server.resume();
        }
        let what = format!("{} died in round {round}", victims[chosen]);
        load.wait_for_dates(&what).await;
    }
    let put = load.end();
    let stored = stored(&server).await;
    for (user, put) in &put {
        let found = stored.get(user);
        let fits = found == Some(&put.born) || (found.is_none() && !put.acknowledged);
        assert!(
            fits,
            "{user}: {found:?}, put {}, acknowledged: {}",
            put.born, put.acknowledged
        );
    }
    assert!(stored.keys().all(|user| put.contains_key(user)));
    let acknowledged = put.values().filter(|put| put.acknowledged).count();
    assert!(acknowledged >= 2 * CLIENTS * (KILLS + 1), "{acknowledged}");
}
