//! What the stack does beside a Redis that starts again: it takes no writes, and is not made master, before that is
//! known to lose nothing.
//!
//! A master that is back while the Sentinels replace it would otherwise take writes, have them confirmed by a replica
//! that does not know better yet, and lose them with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

/// What a Redis is started with that has not settled.
pub(super) const UNSETTLED: [&str; 4] = [
    "--min-replicas-to-write",
    "1000000",
    "--replica-priority",
    "0",
];
const EVERY: Duration = Duration::from_millis(200);

/// A program that is asked, and with which password.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) cli: PathBuf,
    pub(super) port: u16,
    pub(super) password: &'static str,
}

/// Waits in the background until a Redis may be trusted. Ends with the value.
#[derive(Debug)]
pub(super) struct Settling {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Settling {
    pub(super) fn start(redis: Server, sentinels: Vec<Server>, master: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                sleep(EVERY);
                if may_be_trusted(&redis, &sentinels, master) && !stopped.load(Ordering::SeqCst) {
                    let normal = [
                        "config",
                        "set",
                        "min-replicas-to-write",
                        "1",
                        "replica-priority",
                        "100",
                    ];
                    redis.ask(&normal);
                    return;
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Server {
    pub(super) fn ask(&self, question: &[&str]) -> Option<String> {
        ask(&self.cli, self.port, self.password, question)
    }
}

pub(super) fn ask(cli: &Path, port: u16, password: &str, question: &[&str]) -> Option<String> {
    let output = std::process::Command::new(cli)
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .env("REDISCLI_AUTH", password)
        .args(question)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).replace('\r', ""))
}

/// A value of an answer whose lines are names and values in turn.
pub(super) fn value<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let lines: Vec<&str> = answer.lines().collect();
    let pair = lines.chunks(2).find(|pair| pair[0] == name)?;
    pair.get(1).copied()
}

/// As a replica, once it has all of its master; as the master, once most Sentinels see it and none is about to replace
/// it.
fn may_be_trusted(redis: &Server, sentinels: &[Server], master: &str) -> bool {
    let question = ["info", "replication", "persistence"];
    let info = redis.ask(&question).unwrap_or_default();
    if info.contains("role:slave") {
        let needed = [
            "master_link_status:up",
            "master_sync_in_progress:0",
            "aof_rewrite_in_progress:0",
        ];
        return needed.iter().all(|line| info.contains(line));
    }
    let views: Vec<String> = sentinels
        .iter()
        .filter_map(|sentinel| sentinel.ask(&["sentinel", "master", master]))
        .filter(|view| value(view, "port").is_some())
        .collect();
    let port = redis.port.to_string();
    let sees = |view: &&String| {
        value(view, "port") == Some(port.as_str()) && value(view, "flags") == Some("master")
    };
    let doubts = |view: &String| {
        let flags = value(view, "flags").unwrap_or_default();
        value(view, "port") != Some(port.as_str())
            || flags.contains("o_down")
            || flags.contains("failover")
    };
    info.contains("role:master")
        && !views.iter().any(doubts)
        && views.iter().filter(sees).count() > sentinels.len() / 2
}
