//! Commands inside containers of a Docker engine, with something on their standard input.

use std::io;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error as DockerError;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::io::AsyncWriteExt;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ran {
    /// 0 is success.
    pub status: i64,
    /// All of it.
    pub stdout: String,
    /// All of it.
    pub stderr: String,
}

/// Why a command did not get to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecError {
    /// The engine or the connection to it.
    #[error(transparent)]
    Engine(#[from] DockerError),
    /// What was to be its input could not be read.
    #[error(transparent)]
    Input(io::Error),
}

/// Runs a command to its end.
pub(super) async fn run(
    docker: &Docker,
    container: &str,
    command: Vec<String>,
) -> Result<Ran, ExecError> {
    run_with_input(docker, container, command, futures_util::stream::empty()).await
}

/// Runs a command that reads `input`. Dropped early, the command reads the end of its input too early.
pub(super) async fn run_with_input(
    docker: &Docker,
    container: &str,
    command: Vec<String>,
    input: impl Stream<Item = io::Result<Bytes>> + Unpin,
) -> Result<Ran, ExecError> {
    let options = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command),
        ..CreateExecOptions::default()
    };
    let id = docker.create_exec(container, options).await?.id;
    let StartExecResults::Attached {
        mut output,
        input: mut stdin,
    } = docker.start_exec(&id, None).await?
    else {
        unreachable!("it was not asked to detach");
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let read = async {
        while let Some(part) = output.next().await {
            match part? {
                LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                part => stdout.extend_from_slice(&part.into_bytes()),
            }
        }
        Ok::<_, DockerError>(())
    };
    // The end of the output is the end of the command, whether or not it read all of its input.
    tokio::select! {
        ended = read => ended?,
        error = feed(&mut stdin, input) => return Err(ExecError::Input(error)),
    }
    let status = docker.inspect_exec(&id).await?.exit_code;
    Ok(Ran {
        status: status.unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// Writes all of `input`, then waits for ever; ends only with an error of the input.
async fn feed(
    stdin: &mut (impl AsyncWriteExt + Unpin),
    mut input: impl Stream<Item = io::Result<Bytes>> + Unpin,
) -> io::Error {
    while let Some(chunk) = input.next().await {
        match chunk {
            Err(error) => return error,
            // The command has ended; its status says why.
            Ok(chunk) if stdin.write_all(&chunk).await.is_err() => break,
            Ok(_) => {}
        }
    }
    stdin.shutdown().await.ok();
    std::future::pending().await
}

impl Ran {
    /// Its standard output, unless it failed.
    pub(super) fn success(self) -> Result<String, Self> {
        if self.status == 0 {
            Ok(self.stdout)
        } else {
            Err(self)
        }
    }

    /// The last line it wrote about its failure.
    pub(super) fn last_words(&self) -> &str {
        let said = |line: &&str| !line.trim().is_empty();
        let last = self.stderr.lines().rfind(said);
        last.or_else(|| self.stdout.lines().rfind(said))
            .map_or("it says nothing", str::trim)
    }
}
