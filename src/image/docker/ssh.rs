//! An engine behind ssh: `docker system dial-stdio` on the other side, as the Docker command line does it.

use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, Join};
use tokio::process::{ChildStdin, ChildStdout, Command};

/// Enough for a reason.
const WORDS: usize = 4096;
/// How long the reason of a failure may lag behind the failure.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// `ssh://[user@]host[:port][/socket]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SshHost {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    socket: Option<String>,
    /// `ssh`, or what a test takes for it.
    pub program: String,
}

/// What ssh writes to its standard error.
#[derive(Clone, Debug, Default)]
pub(super) struct Words(Arc<Mutex<String>>);

impl SshHost {
    /// Reads what follows `ssh://`; a host or user that ssh would take for an option is none.
    pub(super) fn parse(rest: &str) -> Option<Self> {
        let (authority, socket) = match rest.split_once('/') {
            Some((authority, "")) => (authority, None),
            Some((authority, path)) => (authority, Some(format!("/{path}"))),
            None => (rest, None),
        };
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, authority),
        };
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (host, None),
        };
        let safe = |name: &str| !name.is_empty() && !name.starts_with('-');
        (safe(host) && user.as_deref().is_none_or(safe)).then(|| Self {
            user,
            host: host.to_owned(),
            port,
            socket,
            program: "ssh".to_owned(),
        })
    }

    /// Never asks for a password: the terminal is not ours, and every request is a connection.
    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-T"]
            .map(str::to_owned)
            .into();
        if let Some(user) = &self.user {
            arguments.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        arguments.extend(["--", &self.host, "docker"].map(str::to_owned));
        if let Some(socket) = &self.socket {
            arguments.extend(["--host".to_owned(), format!("unix://{socket}")]);
        }
        arguments.extend(["system", "dial-stdio"].map(str::to_owned));
        arguments
    }

    /// Starts it; the program ends when the stream is dropped.
    pub(super) fn dial(&self) -> io::Result<(Join<ChildStdout, ChildStdin>, Words)> {
        let mut child = Command::new(&self.program)
            .args(self.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("failed to run `{}`: {error}", self.program),
                )
            })?;
        let missing = || io::Error::other("a pipe is missing");
        let (stdin, stdout, mut stderr) = (
            child.stdin.take().ok_or_else(missing)?,
            child.stdout.take().ok_or_else(missing)?,
            child.stderr.take().ok_or_else(missing)?,
        );
        let words = Words::default();
        let heard = words.clone();
        tokio::spawn(async move {
            let mut piece = [0; 512];
            while let Ok(length @ 1..) = stderr.read(&mut piece).await {
                heard.add(&piece[..length]);
            }
            // It ends with its standard input; nobody is interested in how.
            child.wait().await.ok();
        });
        Ok((tokio::io::join(stdout, stdin), words))
    }
}

impl Words {
    fn add(&self, bytes: &[u8]) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() < WORDS {
            words.push_str(&String::from_utf8_lossy(bytes));
        }
    }

    /// The reason that ssh gave, if it gave one.
    pub(super) async fn last(&self) -> Option<String> {
        let said = || {
            let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let lines: Vec<&str> = words.lines().map(str::trim).collect();
            let text = lines.join("; ");
            (!text.is_empty()).then_some(text)
        };
        let deadline = tokio::time::Instant::now() + LAST_WORDS;
        while said().is_none() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        said()
    }
}

/// The stream is used as one.
const _: fn() = || {
    fn is_stream<T: AsyncWrite + tokio::io::AsyncRead + Unpin + Send>() {}
    is_stream::<Join<ChildStdout, ChildStdin>>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_arguments_of_ssh() {
        let arguments = |text: &str| SshHost::parse(text).map(|host| host.arguments().join(" "));
        let before = "-o BatchMode=yes -o ConnectTimeout=20 -T";
        for (text, expected) in [
            ("h", "-- h docker system dial-stdio"),
            ("jo@h", "-l jo -- h docker system dial-stdio"),
            ("jo@h:2222/", "-l jo -p 2222 -- h docker system dial-stdio"),
            (
                "h/run/user/1/docker.sock",
                "-- h docker --host unix:///run/user/1/docker.sock system dial-stdio",
            ),
        ] {
            assert_eq!(arguments(text), Some(format!("{before} {expected}")));
        }
        for refused in ["", "-oProxyCommand=x", "-l@h", "h:port", "@h"] {
            assert_eq!(arguments(refused), None, "{refused}");
        }
    }
}
