//! The programs as processes that can be killed and started again, and how they are asked.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use service_kit::testing::free_port;
use service_kit::{about, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Longer than a request may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Tells [`is_hits_api`] that it is one.
const IS_HITS_API: &str = "STACKCTL_TEST_IS_HITS_API";
const START_LIMIT: Duration = Duration::from_secs(30);

/// `hits-api` or `hits-worker`. Ends with the value.
pub(crate) struct Process {
    program: Program,
    environment: Vec<(&'static str, String)>,
    pub(crate) port: u16,
    child: Option<Child>,
}

#[derive(Clone, Copy)]
pub(crate) enum Program {
    Api,
    Worker,
}

/// Where the servers are.
pub(crate) struct Urls {
    pub(crate) redis: String,
    pub(crate) database: String,
}

/// An answer, as far as the tests care.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request did not get there.
    NotSent,
    /// It may have.
    NoAnswer,
}

impl Process {
    pub(crate) fn start(program: Program, urls: &Urls, more: &[(&'static str, &str)]) -> Self {
        let port = free_port();
        let mut environment = vec![
            ("PORT", port.to_string()),
            ("REDIS_URL", urls.redis.clone()),
            ("DATABASE_URL", urls.database.clone()),
            ("LOG_LEVEL", "warn".to_owned()),
        ];
        environment.extend(
            more.iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let mut process = Self {
            program,
            environment,
            port,
            child: None,
        };
        process.resume();
        process
    }

    /// With SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn resume(&mut self) {
        let mut command = match self.program {
            Program::Worker => Command::new(env!("CARGO_BIN_EXE_hits-worker")),
            // Cargo builds no programs of other packages for a test.
            Program::Api => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args([
                    "--exact",
                    "process::is_hits_api",
                    "--ignored",
                    "--nocapture",
                ]);
                command
            }
        };
        let output = match std::env::var_os("STACKCTL_TEST_LOGS") {
            Some(_) => Stdio::inherit(),
            None => Stdio::null(),
        };
        let environment = self.environment.iter().map(|(name, value)| (*name, value));
        command
            .env_clear()
            .envs(environment)
            .env(IS_HITS_API, "1")
            .stdin(Stdio::null())
            .stdout(output);
        self.child = Some(command.spawn().unwrap());
    }

    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The most memory that it has had, in bytes.
    pub(crate) fn most_memory(&self) -> u64 {
        let pid = self.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
    }

    pub(crate) async fn wait_until_ready(&self) {
        let started = Instant::now();
        loop {
            let answer = ask(self.port, "GET /readyz", &[], "").await;
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return;
            }
            assert!(started.elapsed() < START_LIMIT, "{answer:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Not a test: what [`Program::Api`] runs.
#[test]
#[ignore = "a process of other tests"]
fn is_hits_api() {
    if std::env::var_os(IS_HITS_API).is_none() {
        return;
    }
    run(about!(), hits_api::configure, hits_api::start);
}

/// Asks once, over a connection of its own.
pub(crate) async fn ask(
    port: u16,
    line: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer, Failure> {
    let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let mut stream = connected.map_err(|_| Failure::NotSent)?;
    let mut text = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!(
        "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let mut answer = String::new();
    let exchange = async {
        stream.write_all(text.as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    match timeout(ANSWER_LIMIT, exchange).await {
        Ok(Ok(_)) => whole(&answer).ok_or(Failure::NoAnswer),
        Ok(Err(_)) | Err(_) => Err(Failure::NoAnswer),
    }
}

/// None where it broke off.
fn whole(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (length.parse() == Ok(body.len())).then(|| Answer {
        status,
        body: body.to_owned(),
    })
}

/// The Redis that listens on a port.
pub(crate) fn redis_on(port: u16) -> u32 {
    // It shows in its command line where it listens.
    let shows = |pid: &u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = line.replace('\0', " ");
        line.contains("redis-server") && line.trim_end().ends_with(&format!(":{port}"))
    };
    let entries = fs::read_dir("/proc").unwrap();
    let mut pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.find(shows).expect("such a Redis runs")
}

/// Sends a signal to a process that this test has started.
pub(crate) fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// The port in a URL.
pub(crate) fn port_of(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once(':').unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}
