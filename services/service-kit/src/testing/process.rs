//! Finding, starting and ending the programs behind the servers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use uuid::Uuid;

const SKIP: &str = "STACKCTL_SKIP_SERVERS";
const START_LIMIT: Duration = Duration::from_secs(60);
/// The user `nobody` of every Debian; PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

/// Where a program is, or none where the test is to be skipped.
///
/// # Panics
/// When it is nowhere and skipping was not asked for.
pub fn find(candidates: &[&str], package: &str) -> Option<PathBuf> {
    let found = candidates
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists());
    if found.is_none() {
        let skip = std::env::var_os(SKIP).is_some_and(|value| value == "1");
        missing(candidates[0], package, skip);
    }
    found
}

fn missing(program: &str, package: &str, skip: bool) {
    assert!(
        skip,
        "{program} is missing: `apt-get install {package}` (RUNLEVEL=1 keeps it from starting), \
         or set {SKIP}=1 to do without these tests"
    );
    // Not `eprintln!`, which the harness keeps to itself when a test passes.
    let said = writeln!(
        std::io::stderr(),
        "skipped: {program} is missing and {SKIP}=1 is set"
    );
    said.expect("a skipped test must be seen");
}

/// A port that was free a moment ago. Below the range from which the kernel
/// takes the ports of clients: a server that is killed must find its port free
/// again, and a client that looks for it must not connect to itself.
///
/// # Panics
/// When none is free.
pub fn free_port() -> u16 {
    (0..1000)
        .map(|_| 20_000 + (Uuid::new_v4().as_u128() % 10_000) as u16)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("one of a thousand ports is free")
}

/// A folder that the server may write.
pub(super) fn folder() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder can be made");
    give_away(folder.path());
    folder
}

/// Lets the server have a file or folder of ours.
pub(super) fn give_away(path: &Path) {
    if runs_as_root(path) {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))
            .expect("root may give away what is its own");
    }
}

/// `program`, as `nobody` where this is root.
pub(super) fn command(program: &Path) -> Command {
    let probe = TempDir::new().expect("a temporary folder can be made");
    if !runs_as_root(probe.path()) {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(program)
        .current_dir("/");
    command
}

/// Waits until something listens on the port.
///
/// # Panics
/// When the program ends first or the time is up; with its last words.
pub(super) fn wait_for_port(child: &mut Child, port: u16, log: &Path) {
    let started = Instant::now();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        let ended = child.try_wait().expect("the state of a child can be asked");
        assert!(ended.is_none(), "the server ended: {}", read(log));
        let late = started.elapsed() > START_LIMIT;
        assert!(!late, "the server does not listen: {}", read(log));
        sleep(Duration::from_millis(20));
    }
}

/// Stops a program where it is.
pub(super) fn freeze(child: &Child) {
    let _ = Command::new("kill")
        .args(["-STOP", &child.id().to_string()])
        .status();
}

/// Kills a program and those it has started, and waits until they have ended.
///
/// # Panics
/// When they do not end.
pub(super) fn kill_with_children(child: &mut Child) {
    let id = child.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let children = children.expect("Linux tells the children of a process");
    let children: Vec<&str> = children.split_whitespace().collect();
    let _ = Command::new("kill")
        .args(["-KILL", &id.to_string()])
        .args(&children)
        .status();
    let _ = child.wait();
    let started = Instant::now();
    while children.iter().any(|child| lives(child)) {
        assert!(started.elapsed() < START_LIMIT, "a process does not end");
        sleep(Duration::from_millis(5));
    }
}

/// Whether a process is more than an entry that waits for its parent.
fn lives(id: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{id}/stat"));
    let state = state
        .ok()
        .and_then(|text| text.rsplit_once(") ").map(|(_, rest)| rest.chars().next()));
    state.is_some_and(|state| state != Some('Z'))
}

/// What a server wrote, for messages.
pub(super) fn read(log: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = std::fs::File::open(log) {
        let _ = file.read_to_string(&mut text);
    }
    text
}

/// Files belong to whom made them, which tells who this is without a syscall
/// that would need `unsafe`.
fn runs_as_root(own: &Path) -> bool {
    own.metadata().is_ok_and(|metadata| metadata.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "`apt-get install some-package`")]
    fn a_missing_server_fails_and_names_its_package() {
        missing("/usr/bin/some", "some-package", false);
    }

    #[test]
    fn a_missing_server_is_skipped_when_asked_and_that_is_seen() {
        const ASKED: &str = "SERVICE_KIT_TEST_SKIPS";
        if std::env::var_os(ASKED).is_some() {
            return missing("/usr/bin/some", "some-package", true);
        }
        // This test again, whose harness shows nothing of tests that pass.
        let name =
            "testing::process::tests::a_missing_server_is_skipped_when_asked_and_that_is_seen";
        let this = std::env::current_exe().unwrap();
        let output = Command::new(this)
            .args(["--exact", name])
            .env(ASKED, "1")
            .output()
            .unwrap();
        assert!(output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("skipped: /usr/bin/some is missing"), "{said}");
    }
}
