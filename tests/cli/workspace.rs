//! A small stack in a folder of its own, and the binary run in it.

use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

/// A stack of two services whose images are there already, so that nothing needs an engine.
const FILES: &[(&str, &str)] = &[
    (
        "stack.yaml",
        "name: shop\nservices: [web, db]\nvalues: { log_level: info }\n",
    ),
    (
        "services/web/service.yaml",
        "build: { image: \"web:1\" }\n\
         ports: { http: 8080 }\n\
         forward: { http: 18080 }\n\
         env:\n  \
           LOG_LEVEL: \"{{stack.values.log_level}}\"\n  \
           DATABASE_URL: \"postgres://web:{{urlencode secrets.db-password}}@db/web\"\n\
         probes: { ready: /readyz, live: /healthz }\n\
         needs: [db]\n\
         values: { replicas: 2 }\n",
    ),
    (
        "services/db/service.yaml",
        "build: { image: \"db:1\" }\nports: { sql: 5432 }\nforward: { sql: 15432 }\n",
    ),
    (
        "environments/base.yaml",
        "secrets: { db-password: { generate: 32 } }\n",
    ),
    ("environments/local.yaml", "extends: base\ncluster: local\n"),
];

/// A stack in a temporary folder.
pub(crate) struct Workspace {
    folder: TempDir,
}

/// How a run of the binary ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Workspace {
    /// The stack of two services.
    pub(crate) fn new() -> Self {
        let workspace = Self::empty();
        for (path, text) in FILES {
            workspace.write(path, text);
        }
        workspace
    }

    /// A folder without files.
    pub(crate) fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(path, text).expect("the file is written");
    }

    /// Runs the binary with no kubeconfig, no engine and nothing else from this machine.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, &[])
    }

    pub(crate) fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
        let mut command = Command::cargo_bin("stackctl").expect("the binary is built");
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("KUBECONFIG", self.path().join("no-kubeconfig"))
            .env(
                "DOCKER_HOST",
                format!("unix://{}/no-docker.sock", self.path().display()),
            )
            .envs(variables.iter().copied())
            .args(arguments);
        let output = command.output().expect("the binary runs");
        Run {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8(output.stdout).expect("stdout is text"),
            stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }

    /// Every file below the folder with its content: to see that nothing was touched.
    pub(crate) fn contents(&self) -> Vec<(String, Vec<u8>)> {
        fn collect(folder: &Path, root: &Path, found: &mut Vec<(String, Vec<u8>)>) {
            for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    collect(&path, root, found);
                } else {
                    let name = path
                        .strip_prefix(root)
                        .expect("below the root")
                        .display()
                        .to_string();
                    found.push((name, std::fs::read(&path).expect("a file")));
                }
            }
        }
        let mut found = Vec::new();
        collect(self.path(), self.path(), &mut found);
        found.sort();
        found
    }
}
