//! Rolling updates under load, of a service and of the gateway in front: every request is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::cluster::kubectl;

/// Half of them ask the service, half the gateway; of both, half keep their connection.
const CLIENTS: usize = 12;

/// What the clients saw.
#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    failed: Vec<String>,
}

/// Clients that ask `birthday` at ports of the node, over and over.
struct Load {
    runtime: Runtime,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

/// Replaces all pods of `birthday`, then those of the gateway, while clients store and read: half of them ask the
/// service itself, half through the gateway. Both are deployed in `namespace` with node ports.
pub(crate) fn drops_no_request(namespace: &str) {
    let doors = ["birthday", "gateway-public"].map(|service| door(namespace, service));
    let load = Load::start(&doors);
    std::thread::sleep(Duration::from_secs(2));
    for (deployment, replicas) in [("birthday", 3), ("gateway", 2)] {
        replace(namespace, deployment, replicas);
    }
    let tally = load.end();
    assert!(tally.failed.is_empty(), "{tally:#?}");
    assert!(
        tally.answered > 1000,
        "no load worth its name: {} answers",
        tally.answered
    );
}

/// Where a service can be reached from outside.
fn door(namespace: &str, service: &str) -> String {
    let port = kubectl(&[
        "--namespace",
        namespace,
        "get",
        &format!("service/{service}"),
        "--output=jsonpath={.spec.ports[0].nodePort}",
    ]);
    format!("http://127.0.0.1:{port}")
}

/// Replaces all pods, and waits until the last of the old ones has ended.
fn replace(namespace: &str, deployment: &str, replicas: usize) {
    let kubectl = |arguments: &[&str]| kubectl(&[&["--namespace", namespace], arguments].concat());
    let pods = || -> Vec<String> {
        let names = kubectl(&[
            "get",
            "pods",
            &format!("--selector=app.kubernetes.io/name={deployment}"),
            "--field-selector=status.phase=Running",
            "--output=jsonpath={.items[*].metadata.name}",
        ]);
        names.split_whitespace().map(str::to_owned).collect()
    };
    let before = pods();
    assert_eq!(before.len(), replicas, "{before:?}");
    let deployment = format!("deployment/{deployment}");
    kubectl(&["rollout", "restart", &deployment]);
    kubectl(&["rollout", "status", &deployment, "--timeout=180s"]);
    // The last of the old pods is still draining.
    for pod in &before {
        let gone = ["--for=delete", "--timeout=60s"];
        kubectl(&[&["wait", &format!("pod/{pod}")], &gone[..]].concat());
    }
    let after = pods();
    assert!(
        after.len() == replicas && after.iter().all(|pod| !before.contains(pod)),
        "not replaced: {before:?}, {after:?}"
    );
}

impl Load {
    fn start(doors: &[String; 2]) -> Self {
        // Any client of reqwest wants one, also for plain HTTP; fails where it was installed before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Runtime::new().expect("a runtime");
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS)
            .map(|number| {
                // In letters, which is what a user is made of.
                let user = char::from(b'a' + u8::try_from(number).expect("few clients"));
                let url = format!("{}/hello/load{user}", doors[number % 2]);
                let keeps = number / 2 % 2 == 0;
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
        .no_proxy()
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
        tally.add(&format!("PUT {url}"), put.await, StatusCode::NO_CONTENT);
        let get = client.get(&url).send();
        tally.add(&format!("GET {url}"), get.await, StatusCode::OK);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tally
}

impl Tally {
    fn add(
        &mut self,
        request: &str,
        answer: reqwest::Result<reqwest::Response>,
        expected: StatusCode,
    ) {
        match answer {
            Ok(answer) if answer.status() == expected => self.answered += 1,
            Ok(answer) => self.failed.push(format!("{request}: {}", answer.status())),
            Err(error) => self.failed.push(format!("{request}: {error:?}")),
        }
    }
}
