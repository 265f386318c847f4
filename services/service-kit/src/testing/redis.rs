//! A Redis server for one test.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::process;

/// Shows that services take the password out of the URL and decode it.
const PASSWORD: &str = "p/w@1";
const PASSWORD_IN_URL: &str = "p%2Fw%401";

/// A running Redis with a password and an append-only file.
#[derive(Debug)]
pub struct RedisServer {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts one, or gives none where the test is to be skipped.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn start() -> Option<Self> {
        let program = process::find(&["/usr/bin/redis-server"], "redis-server")?;
        let mut server = Self {
            program,
            folder: process::folder(),
            port: process::free_port(),
            child: None,
        };
        server.resume();
        Some(server)
    }

    /// Where to find it, with the password.
    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD_IN_URL}@127.0.0.1:{}/0", self.port)
    }

    /// Kills it (SIGKILL). What was written stays.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again after [`kill`](Self::kill), on the same port with the same data.
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        let log = self.folder.path().join("log");
        let output = File::create(&log).expect("a log can be written");
        let mut child = process::command(&self.program)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .arg("--dir")
            .arg(self.folder.path())
            .args(["--requirepass", PASSWORD, "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always"])
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server can be started");
        process::wait_for_port(&mut child, self.port, &log);
        self.child = Some(child);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
