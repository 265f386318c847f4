//! A PostgreSQL server for one test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio_postgres::NoTls;

use super::process;

/// Debian keeps each version's programs in a folder of its own.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A running PostgreSQL with one superuser `postgres` and no password.
#[derive(Debug)]
pub struct PostgresServer {
    binaries: PathBuf,
    folder: TempDir,
    port: u16,
    fsync: &'static str,
    child: Option<Child>,
}

impl PostgresServer {
    /// Starts one, or gives none where the test is to be skipped. What it acknowledged survives its own end, and not
    /// that of the machine.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn start() -> Option<Self> {
        Self::with("fsync=off")
    }

    /// One that waits for the disk, as in production.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn durable() -> Option<Self> {
        Self::with("fsync=on")
    }

    fn with(fsync: &'static str) -> Option<Self> {
        let binaries = process::find(&[&newest()], "postgresql")?;
        let folder = process::folder();
        let mut server = Self {
            port: process::free_port(),
            binaries,
            folder,
            fsync,
            child: None,
        };
        server.initialise();
        server.resume();
        Some(server)
    }

    /// Where to find the database that `initdb` makes.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends it at once, as a crash would. Its data stays.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // The postmaster ends its children on SIGQUIT; after SIGKILL they
        // would linger and keep the data folder busy.
        let _ = process::command(&self.binaries.join("pg_ctl"))
            .args(["stop", "--mode=immediate", "--silent", "--pgdata"])
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Kills all its processes (SIGKILL): no one of them gets to do anything more. Its data stays.
    ///
    /// # Panics
    /// When they do not end.
    pub fn kill_all_processes(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        process::kill_with_children(&mut child);
    }

    /// Starts it again after it was killed, on the same port with the same data.
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        let log = self.folder.path().join("log");
        let mut child = self
            .command("postgres", &log)
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1"])
            .args(["-c", "unix_socket_directories=", "-c", self.fsync])
            .spawn()
            .expect("postgres can be started");
        process::wait_for_port(&mut child, self.port, &log);
        self.child = Some(child);
    }

    /// A connection of the test's own, once the server takes one: it listens a
    /// moment before it is done with recovery.
    ///
    /// # Panics
    /// When it takes none within ten seconds.
    pub async fn connect(&self) -> tokio_postgres::Client {
        let mut last = None;
        for _ in 0..200 {
            match tokio_postgres::connect(&self.url(), NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("PostgreSQL takes no connection: {last:?}");
    }

    fn initialise(&self) {
        let log = self.folder.path().join("initdb.log");
        let status = self
            .command("initdb", &log)
            .args(["--username=postgres", "--auth=trust", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(self.data())
            .status()
            .expect("initdb can be started");
        assert!(status.success(), "initdb failed: {}", process::read(&log));
    }

    fn command(&self, program: &str, log: &Path) -> Command {
        let output = File::create(log).expect("a log can be written");
        let errors = output.try_clone().expect("a file can be shared");
        let mut command = process::command(&self.binaries.join(program));
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The programs of the newest version.
fn newest() -> String {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let whole = versions.filter(|version| version.path().join("bin/initdb").is_file());
    let numbers = whole.filter_map(|version| version.file_name().to_str()?.parse::<u32>().ok());
    let newest = numbers.max().map(|number| number.to_string());
    format!("{VERSIONS}/{}/bin", newest.as_deref().unwrap_or("*"))
}
