//! Programs that serve while others are measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::workspace;

/// For a service to become ready.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A program, ended when this is dropped.
pub(super) struct Running {
    child: Child,
    /// Where it serves, without a slash at the end.
    pub(super) url: String,
}

impl Running {
    /// A service with its own defaults and these variables, once it is ready. It logs as it does in a pod.
    pub(super) fn service(programs: &Path, name: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let port = free_port()?;
        let child = Command::new(programs.join(name))
            .env_clear()
            .env("PORT", port.to_string())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut running = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        };
        running.wait_until(name, || is_well(port, "/readyz"))?;
        Ok(running)
    }

    /// HAProxy as it is in its image, in front of one service and without limits, once that is found.
    pub(super) fn gateway(service: &Self) -> Result<Self> {
        let rootfs = workspace::root().join("services/gateway/rootfs");
        let (port, internal) = (free_port()?, free_port()?);
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .arg(rootfs.join("usr/local/bin/entrypoint"))
            .env_clear()
            .env("PATH", format!("{path}:/usr/sbin"))
            .env("HAPROXY_CONFIG", rootfs.join("etc/haproxy/haproxy.cfg"))
            .env("PORT", port.to_string())
            .env("METRICS_PORT", internal.to_string())
            .env("RATE_LIMIT", "0")
            // Nothing listens there.
            .envs(
                ["UPLOAD", "COUNTER", "BIRTHDAY", "HITS_API"]
                    .map(|name| (format!("{name}_ADDRESS"), "127.0.0.1:1")),
            )
            .env("PICTURE_ADDRESS", service.address())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut running = Self {
            child: command.spawn().context("cannot start a shell")?,
            url: format!("http://127.0.0.1:{port}"),
        };
        running.wait_until("gateway", || is_well(port, "/"))?;
        Ok(running)
    }

    /// `HOST:PORT`.
    fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// A handler of axum that does nothing.
    pub(super) fn bare(programs: &Path) -> Result<Self> {
        let (child, said) = telling(programs, "bare")?;
        let url = said["url"].as_str().context("it says no url")?.to_owned();
        Ok(Self { child, url })
    }

    fn wait_until(&mut self, name: &str, is_ready: impl Fn() -> bool) -> Result<()> {
        let started = Instant::now();
        while !is_ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{name} ended with {status}");
            }
            ensure!(started.elapsed() < START_LIMIT, "{name} does not get ready");
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command of `load` that serves until its stdin ends, and the JSON it says first.
pub(super) fn telling(programs: &Path, command: &str) -> Result<(Child, Value)> {
    let mut child = Command::new(programs.join("load"))
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start load")?;
    let stdout = child.stdout.take().context("its stdout is piped")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let said = serde_json::from_str(&line);
    Ok((
        child,
        said.with_context(|| format!("`load {command}` says {line:?}"))?,
    ))
}

fn is_well(port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
