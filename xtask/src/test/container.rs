//! A container on a volume, confined as Kubernetes' restricted profile and a
//! read-only root file system confine a pod.

use std::path::Path;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process;

/// How long a server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A named volume, removed when it is dropped.
pub(super) struct Volume {
    name: String,
}

impl Volume {
    pub(super) fn create(name: &str) -> Result<Self> {
        let name = format!("xtask-{name}-{}", std::process::id());
        docker(&["volume", "create", &name])?;
        Ok(Self { name })
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = docker(&["volume", "rm", "--force", &self.name]);
    }
}

/// What to start.
pub(super) struct Server<'a> {
    pub(super) image: &'a str,
    pub(super) user: &'a str,
    pub(super) env: &'a [(&'a str, &'a str)],
    pub(super) args: &'a [&'a str],
}

impl Server<'_> {
    /// Starts it on a volume.
    pub(super) fn start(&self, volume: &Volume) -> Result<Container> {
        let mut command = Command::new("docker");
        command
            .args(["run", "--detach", "--network=none", "--read-only"])
            .args(["--cap-drop=ALL", "--security-opt=no-new-privileges"])
            .args(["--tmpfs=/tmp", "--tmpfs=/run", "--user", self.user])
            .args(["--volume", &format!("{}:/data", volume.name)]);
        for (name, value) in self.env {
            // By name alone: the value is taken from the environment of the command.
            command.args(["--env", name]).env(name, value);
        }
        let id = process::capture(command.arg(self.image).args(self.args))?;
        Ok(Container {
            id: id.trim().to_owned(),
        })
    }
}

/// A container, removed by force when it is dropped.
pub(super) struct Container {
    id: String,
}

impl Container {
    /// Runs a program inside; the environment is that of the container and `env`.
    pub(super) fn exec(&self, env: &[(&str, &str)], program: &[&str]) -> Result<Output> {
        let mut command = Command::new("docker");
        command.arg("exec");
        for (name, value) in env {
            command.args(["--env", name]).env(name, value);
        }
        process::output(command.arg(&self.id).args(program))
    }

    /// Waits until a program inside succeeds.
    pub(super) fn wait_for(&self, env: &[(&str, &str)], program: &[&str]) -> Result<()> {
        self.wait_until(|| Ok(self.exec(env, program)?.status.success()))
    }

    /// Waits until something is so.
    pub(super) fn wait_until(&self, is_so: impl Fn() -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        loop {
            if is_so()? {
                return Ok(());
            }
            if !self.is_running()? || start.elapsed() > START_LIMIT {
                let waited = start.elapsed().as_secs_f64();
                bail!("not up after {waited:.1} s; its log:\n{}", self.logs()?);
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// What a port of the container answers to `GET PATH`, with the head; none where it does not answer.
    /// It is asked by busybox of the image `tools`, in the network of the container.
    pub(super) fn get(&self, tools: &str, port: &str, path: &str) -> Result<Option<String>> {
        let script = r#"printf 'GET %s HTTP/1.0\r\n\r\n' "$2" | busybox nc 127.0.0.1 "$1""#;
        let mut command = Command::new("docker");
        command
            .args([
                "run",
                "--rm",
                "--network",
                &format!("container:{}", self.id),
            ])
            .args(["--entrypoint", "sh", tools, "-c", script, "sh", port, path]);
        let output = process::output(&mut command)?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(output.status.success().then_some(answer))
    }

    /// Writes all of its files to an archive.
    pub(super) fn export(&self, archive: &Path) -> Result<()> {
        let mut command = Command::new("docker");
        command.args(["export", "--output"]).arg(archive);
        process::capture(command.arg(&self.id)).map(drop)
    }

    pub(super) fn is_running(&self) -> Result<bool> {
        Ok(self.inspect("{{.State.Running}}")? == "true")
    }

    /// What it wrote to stdout and stderr.
    pub(super) fn logs(&self) -> Result<String> {
        let output = process::output(Command::new("docker").args(["logs", &self.id]))?;
        let streams = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&streams).into_owned())
    }

    /// The processes with their arguments, as the host sees them.
    pub(super) fn processes(&self) -> Result<String> {
        docker(&["top", &self.id, "-eo", "pid,args"])
    }

    /// Ends it the hard way.
    pub(super) fn kill(self) -> Result<()> {
        docker(&["kill", "--signal=KILL", &self.id])?;
        Ok(())
    }

    /// Ends it with the stop signal of its image, as the kubelet does; it must
    /// end well and within the limit.
    pub(super) fn stop(self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        docker(&["stop", "--time=30", &self.id])?;
        let took = start.elapsed();
        ensure!(took < limit, "took {:.1} s to stop", took.as_secs_f64());
        let code = self.exit_code()?;
        ensure!(code == 0, "exit code {code} when stopped");
        Ok(())
    }

    /// Waits until it ends by itself.
    pub(super) fn exit_code(&self) -> Result<i32> {
        let code = docker(&["wait", &self.id])?;
        code.trim().parse().context("docker wait wrote no number")
    }

    fn inspect(&self, format: &str) -> Result<String> {
        let value = docker(&["inspect", "--format", format, &self.id])?;
        Ok(value.trim().to_owned())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = docker(&["rm", "--force", "--volumes", &self.id]);
    }
}

/// Runs the docker command.
pub(super) fn docker(args: &[&str]) -> Result<String> {
    process::capture(Command::new("docker").args(args))
}
