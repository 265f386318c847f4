//! A rolling update under load: every request is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::cluster::kubectl;

/// Half of them keep their connection, half make one for each request.
const CLIENTS: usize = 12;

/// What the clients saw.
#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    failed: Vec<String>,
}

/// Clients that ask the service on one port of the node, over and over.
struct Load {
    runtime: Runtime,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

/// Replaces all pods of `birthday`, deployed in `namespace` with a node port, while clients store and read.
pub(crate) fn drops_no_request(namespace: &str) {
    let kubectl = |arguments: &[&str]| kubectl(&[&["--namespace", namespace], arguments].concat());
    let pods = || -> Vec<String> {
        let names = kubectl(&[
            "get",
            "pods",
            "--selector=app.kubernetes.io/name=birthday",
            "--field-selector=status.phase=Running",
            "--output=jsonpath={.items[*].metadata.name}",
        ]);
        names.split_whitespace().map(str::to_owned).collect()
    };
    let before = pods();
    assert_eq!(before.len(), 3, "{before:?}");
    let port = kubectl(&[
        "get",
        "service/birthday",
        "--output=jsonpath={.spec.ports[0].nodePort}",
    ]);

    let load = Load::start(&format!("http://127.0.0.1:{port}"));
    std::thread::sleep(Duration::from_secs(2));
    kubectl(&["rollout", "restart", "deployment/birthday"]);
    kubectl(&["rollout", "status", "deployment/birthday", "--timeout=180s"]);
    // The last of the old pods is still draining.
    for pod in &before {
        let gone = ["--for=delete", "--timeout=60s"];
        kubectl(&[&["wait", &format!("pod/{pod}")], &gone[..]].concat());
    }
    let tally = load.end();

    let after = pods();
    assert!(
        after.len() == 3 && after.iter().all(|pod| !before.contains(pod)),
        "not replaced: {before:?}, {after:?}"
    );
    assert!(tally.failed.is_empty(), "{tally:#?}");
    assert!(
        tally.answered > 500,
        "no load worth its name: {} answers",
        tally.answered
    );
}

impl Load {
    fn start(url: &str) -> Self {
        // Any client of reqwest wants one, also for plain HTTP; fails where it was installed before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Runtime::new().expect("a runtime");
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS)
            .map(|number| {
                // In letters, which is what a user is made of.
                let user = char::from(b'a' + u8::try_from(number).expect("few clients"));
                let url = format!("{url}/hello/load{user}");
                let keeps = number % 2 == 0;
                runtime.spawn(ask(url, keeps, Arc::clone(&stop)))
            })
            .collect();
        Self {
            runtime,
            stop,
            clients,
        }
    }

    fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for client in self.clients {
            let tally = self.runtime.block_on(client).expect("the client ends");
            all.answered += tally.answered;
            all.failed.extend(tally.failed);
        }
        all
    }
}

async fn ask(url: String, keeps: bool, stop: Arc<AtomicBool>) -> Tally {
    let client = Client::builder()
        .pool_max_idle_per_host(usize::from(keeps))
        .timeout(Duration::from_secs(10))
        .build()
        .expect("a client");
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let put = client
            .put(&url)
            .json(&json!({"dateOfBirth": "1990-05-17"}))
            .send();
        tally.add("PUT", put.await, StatusCode::NO_CONTENT);
        tally.add("GET", client.get(&url).send().await, StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tally
}

impl Tally {
    fn add(
        &mut self,
        method: &str,
        answer: reqwest::Result<reqwest::Response>,
        expected: StatusCode,
    ) {
        match answer {
            Ok(answer) if answer.status() == expected => self.answered += 1,
            Ok(answer) => self.failed.push(format!("{method}: {}", answer.status())),
            Err(error) => self.failed.push(format!("{method}: {error:?}")),
        }
    }
}
