//! The service as a process that can be killed.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// For whatever has to happen; far above what it takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// One replica, at an address that stays the same.
pub(crate) struct Service {
    port: u16,
    database: String,
    child: Option<Child>,
}

impl Service {
    /// Starts it over the database at a URL.
    pub(crate) fn start(database: &str) -> Self {
        let mut service = Self {
            port: service_kit::testing::free_port(),
            database: database.to_owned(),
            child: None,
        };
        service.resume();
        service
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again.
    pub(crate) fn resume(&mut self) {
        let child = Command::new(env!("CARGO_BIN_EXE_birthday"))
            .env_clear()
            .env("PORT", self.port.to_string())
            .env("DATABASE_URL", &self.database)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn wait_until_ready(&self) {
        let started = Instant::now();
        loop {
            let answer = send(self.address(), "GET /readyz", "");
            if answer.as_ref().is_ok_and(|status| *status == 200) {
                return;
            }
            assert!(started.elapsed() < LIMIT, "not ready: {answer:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The status of the answer to one request, on a connection of its own.
pub(crate) fn send(address: SocketAddr, request: &str, body: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let length = body.len();
    let message = format!(
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(message.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    let status = status.and_then(|digits| digits.parse().ok());
    status.ok_or_else(|| io::Error::other(format!("no answer: {answer:?}")))
}
