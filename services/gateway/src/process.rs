//! Starting the entrypoint, and ending what it became.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use service_kit::testing::{find, free_port};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::client::Client;

const ENTRYPOINT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/rootfs/usr/local/bin/entrypoint"
);
const CONFIG: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/rootfs/etc/haproxy/haproxy.cfg"
);
const SERVICES: [&str; 5] = ["PICTURE", "UPLOAD", "COUNTER", "BIRTHDAY", "HITS_API"];
/// Nothing listens there.
const NOWHERE: &str = "127.0.0.1:1";
const START_LIMIT: Duration = Duration::from_secs(20);
const LOG_LIMIT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running gateway, killed with its value.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    folder: TempDir,
    port: u16,
    internal_port: u16,
}

impl Gateway {
    /// Starts it with these variables, services that are not named being away, and waits until it answers; none where
    /// the test is to be skipped.
    ///
    /// # Panics
    /// When HAProxy is not installed, or does not start.
    pub async fn start(variables: &[(&str, &str)]) -> Option<Self> {
        find(&["/usr/sbin/haproxy"], "haproxy")?;
        let folder = TempDir::new().expect("a temporary folder can be made");
        let log = |name| File::create(folder.path().join(name)).expect("a log can be written");
        let (port, internal_port) = (free_port(), free_port());
        let child = command(variables)
            .env("PORT", port.to_string())
            .env("METRICS_PORT", internal_port.to_string())
            .stdout(log("stdout"))
            .stderr(log("stderr"))
            .spawn()
            .expect("a shell can be started");
        let mut gateway = Self {
            child,
            folder,
            port,
            internal_port,
        };
        gateway.wait_until_it_answers().await;
        Some(gateway)
    }

    /// A client of the public port.
    pub fn client(&self) -> Client {
        Client::of(self.port)
    }

    /// A client of the port for probes and metrics.
    pub fn internal(&self) -> Client {
        Client::of(self.internal_port)
    }

    /// The access log, as soon as it has so many lines: each is written after its answer.
    ///
    /// # Panics
    /// When it does not get them, or one is not JSON.
    pub async fn log(&self, lines: usize) -> Vec<Value> {
        let started = Instant::now();
        while self.read("stdout").matches('\n').count() < lines {
            assert!(started.elapsed() < LOG_LIMIT, "{}", self.words());
            sleep(Duration::from_millis(20)).await;
        }
        let text = self.read("stdout");
        // As it ends HAProxy says that it does, in words.
        let lines = text.lines().filter(|line| !line.starts_with("Proxy "));
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    }

    /// Everything that it wrote.
    pub fn words(&self) -> String {
        self.read("stdout") + &self.read("stderr")
    }

    /// Asks it to end, as Kubernetes does with the stop signal of its image.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn stop(&self) {
        let id = i32::try_from(self.child.id()).expect("a process id fits");
        kill(Pid::from_raw(id), Signal::SIGUSR1).expect("it runs");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            let ended = self.child.try_wait().expect("a child can be asked");
            if let Some(status) = ended {
                return status;
            }
            assert!(started.elapsed() < STOP_LIMIT, "{}", self.words());
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn wait_until_it_answers(&mut self) {
        let started = Instant::now();
        while self.internal().connect().await.is_err() {
            let ended = self.child.try_wait().expect("a child can be asked");
            let late = started.elapsed() > START_LIMIT;
            assert!(ended.is_none() && !late, "{}", self.words());
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the entrypoint says to variables that it refuses.
///
/// # Panics
/// When it takes them.
pub fn refused(variables: &[(&str, &str)]) -> Output {
    let mut command = command(&[]);
    let child = command
        .env("HAPROXY_CONFIG", "/nonexistent")
        .envs(variables.iter().copied())
        .output();
    child.expect("a shell can be started")
}

fn command(variables: &[(&str, &str)]) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command
        .arg(Path::new(ENTRYPOINT))
        .env_clear()
        .env("PATH", format!("{path}:/usr/sbin"))
        .env("HAPROXY_CONFIG", CONFIG)
        .envs(SERVICES.map(|service| (format!("{service}_ADDRESS"), NOWHERE)))
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    command
}
