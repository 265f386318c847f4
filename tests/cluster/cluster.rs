//! A stack in a namespace of its own, the binary run on it, and `kubectl` as the second witness.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// For tests that fill a machine and assert a deadline: one at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a run of the binary ended, and how long it took.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

/// A copy of a fixture whose environment `local` has a namespace of its own, deleted at the end.
pub(crate) struct Deployed {
    folder: TempDir,
    pub(crate) namespace: String,
}

impl Deployed {
    /// The stack of `tests/fixtures/faulty`.
    pub(crate) fn faulty() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("stackctl-test-{}-{number}", std::process::id());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let deployed = Self { folder, namespace };
        copy(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/faulty"),
            deployed.path(),
        );
        deployed.replace(
            "environments/local.yaml",
            "__NAMESPACE__",
            &deployed.namespace,
        );
        deployed
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, with the folders above it.
    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(path, text).expect("the file is written");
    }

    /// Replaces text in a file; it must be there.
    pub(crate) fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.path().join(file);
        let text = std::fs::read_to_string(&path).expect("the file");
        assert!(text.contains(from), "{file} holds no {from:?}");
        std::fs::write(path, text.replace(from, to)).expect("the file is written");
    }

    /// Edits the service in a way that no other test and no earlier run has: its image cannot be there.
    pub(crate) fn edit_source(&self) {
        self.replace(
            "services/subject/src/main.rs",
            "subject starts",
            &format!("subject of {} starts", self.namespace),
        );
    }

    /// The command, to be run or spawned.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        stackctl(self.path(), arguments)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        finish(self.command(arguments))
    }

    /// What `kubectl` prints, in the namespace of the stack.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(&[&["--namespace", &self.namespace], arguments].concat())
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let _ = Command::new("kubectl")
            .args([
                "delete",
                "namespace",
                &self.namespace,
                "--ignore-not-found",
                "--wait=false",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// The binary in a folder, on the current context of `$KUBECONFIG`.
pub(crate) fn stackctl(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stackctl"));
    command
        .current_dir(folder)
        .env_remove("STACKCTL_ENV")
        .args(arguments);
    if std::env::var_os("STACKCTL_CLUSTER").is_none() {
        command.env(
            "STACKCTL_CLUSTER",
            kubectl(&["config", "current-context"]).trim(),
        );
    }
    command
}

pub(crate) fn finish(mut command: Command) -> Run {
    let started = Instant::now();
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the binary runs");
    Run {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        elapsed: started.elapsed(),
    }
}

pub(crate) fn kubectl(arguments: &[&str]) -> String {
    let output = Command::new("kubectl")
        .args(arguments)
        .output()
        .expect("kubectl is installed");
    assert!(
        output.status.success(),
        "kubectl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the fixture").flatten() {
        let target: PathBuf = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).expect("a folder");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
