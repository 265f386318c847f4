//! Programs that serve while others are measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

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
        running.wait_until_ready(name, port)?;
        Ok(running)
    }

    /// A handler of axum that does nothing.
    pub(super) fn bare(programs: &Path) -> Result<Self> {
        let (child, said) = telling(programs, "bare")?;
        let url = said["url"].as_str().context("it says no url")?.to_owned();
        Ok(Self { child, url })
    }

    fn wait_until_ready(&mut self, name: &str, port: u16) -> Result<()> {
        let started = Instant::now();
        while !is_ready(port) {
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

fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
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
