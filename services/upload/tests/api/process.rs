//! A real `upload`: started, asked, ended by signals.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, Response};
use serde_json::Value;
use tokio::time::sleep;

use crate::support::form_body;

const LIMIT: Duration = Duration::from_secs(120);

/// The process. It is killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
    log: PathBuf,
    client: Client,
}

impl Process {
    /// Starts it with its data in `folder` and waits until it answers.
    pub(crate) async fn start(folder: &Path, port: u16, variables: &[(&str, &str)]) -> Self {
        let log = folder.join("log");
        let output = File::options().create(true).append(true).open(&log);
        let child = Command::new(env!("CARGO_BIN_EXE_upload"))
            .env_clear()
            .env("PORT", port.to_string())
            .env("STORE_URL", format!("file://{}/data", folder.display()))
            .env("N_WORKERS", "2")
            .env("UPLOADS_PER_SECOND", "100000")
            .env("DRAIN_SECONDS", "0.2")
            .envs(variables.iter().copied())
            .stdout(output.unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut process = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            log,
            client: client(),
        };
        let started = Instant::now();
        while process.try_get("/healthz").await.is_none() {
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", process.log());
            assert!(started.elapsed() < LIMIT, "{}", process.log());
            sleep(Duration::from_millis(20)).await;
        }
        process
    }

    pub(crate) fn client(&self) -> Uploader {
        Uploader {
            client: self.client.clone(),
            url: self.url.clone(),
        }
    }

    async fn try_get(&self, path: &str) -> Option<Response> {
        let url = format!("{}{path}", self.url);
        self.client.get(url).send().await.ok()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let response = self.try_get(path).await.unwrap();
        let status = response.status().as_u16();
        (status, response.bytes().await.unwrap().to_vec())
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let (_, body) = self.get(path).await;
        serde_json::from_slice(&body).unwrap()
    }

    /// Waits until a job has ended.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        let started = Instant::now();
        loop {
            let job = self.json(&format!("/jobs/{id}")).await;
            if job["state"] != "running" {
                return job;
            }
            assert!(started.elapsed() < LIMIT, "{job}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until this many uploads were accepted.
    pub(crate) async fn has_accepted(&self, number: usize) {
        let started = Instant::now();
        while self.metric("upload_accepted_total").await < number as f64 {
            assert!(started.elapsed() < LIMIT, "{}", self.log());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// A counter of the process.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, body) = self.get("/metrics").await;
        let text = String::from_utf8(body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    }

    /// The most memory that it ever had, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = peak.unwrap().trim().trim_end_matches(" kB");
        number.parse().unwrap()
    }

    /// What was logged, by this process and those before it in the folder.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn terminate(&self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
    }

    /// As `kill -9` does; nothing in the process learns of it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < LIMIT, "{}", self.log());
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Uploads to a process that may go away meanwhile.
#[derive(Clone)]
pub(crate) struct Uploader {
    client: Client,
    url: String,
}

impl Uploader {
    /// The status of the answer, and the id of the job; none without an answer.
    pub(crate) async fn upload(&self, file: &[u8], request: &str) -> Option<(u16, Value)> {
        let sent = self
            .client
            .post(format!("{}/upload", self.url))
            .header("content-type", "multipart/form-data; boundary=x")
            .header("x-request-id", request)
            .body(form_body("image", file))
            .send();
        let response = sent.await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.ok()?))
    }
}

/// It needs no certificates: everything is on loopback.
fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .tls_certs_only([])
        .timeout(LIMIT)
        .build()
        .unwrap()
}
