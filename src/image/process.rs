//! Programs that run on behalf of a build: their lines as they come, and no child left behind.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// What a program may still do after it was asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long the pipes of an ended program are read: a daemon it started may hold them for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// A longer line comes in pieces: not every program ends its lines.
const LONGEST_LINE: usize = 64 * 1024;
/// As much as a pipe holds.
const CHUNK: usize = 64 * 1024;

/// Which pipe a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pipe {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Why a program has no exit status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// It could not be started or read from.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The token was cancelled, and it and its children were killed.
    #[error("interrupted")]
    Interrupted,
}

/// Runs `command` in a process group of its own, so that Ctrl-C reaches it once and through us. A carriage return
/// ends a line, too: progress bars use it.
pub(crate) async fn run(
    mut command: Command,
    cancel: &CancellationToken,
    mut on_line: impl FnMut(Pipe, &str),
) -> Result<ExitStatus, ProcessError> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut group = Group::of(&child);
    let mut out = Lines::new(Pipe::Out, child.stdout.take());
    let mut err = Lines::new(Pipe::Err, child.stderr.take());
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            read = out.read() => out.give(read?, &mut on_line),
            read = err.read() => err.give(read?, &mut on_line),
            () = cancel.cancelled() => {
                group.end(&mut child).await;
                return Err(ProcessError::Interrupted);
            }
        }
    };
    group.done();
    let drained = tokio::time::timeout(DRAIN, async {
        while out.is_open() || err.is_open() {
            tokio::select! {
                read = out.read() => out.give(read?, &mut on_line),
                read = err.read() => err.give(read?, &mut on_line),
            }
        }
        Ok::<_, io::Error>(())
    });
    if let Ok(result) = drained.await {
        result?;
    }
    out.finish(&mut on_line);
    err.finish(&mut on_line);
    Ok(status)
}

/// The process group of a child; killed when dropped before the child has ended.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.map(Pid::from_raw))
    }

    async fn end(&mut self, child: &mut Child) {
        self.signal(Signal::SIGTERM);
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            self.signal(Signal::SIGKILL);
            // Nothing survives SIGKILL; an error here means that the child was reaped already.
            child.wait().await.ok();
        }
        self.done();
    }

    fn done(&mut self) {
        self.0 = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // The group may have ended by itself.
            killpg(group, signal).ok();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Cuts what comes through a pipe into lines.
struct Lines<R> {
    pipe: Pipe,
    reader: Option<R>,
    /// The beginning of a line, without an end of one.
    buffer: Vec<u8>,
    /// How much of it came before and was looked at.
    seen: usize,
    /// A line feed right after a carriage return ends no line of its own.
    after_return: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(pipe: Pipe, reader: Option<R>) -> Self {
        Self {
            pipe,
            reader,
            buffer: Vec::new(),
            seen: 0,
            after_return: false,
        }
    }

    fn is_open(&self) -> bool {
        self.reader.is_some()
    }

    /// The number of bytes that came, 0 at the end; never returns once the end was given.
    async fn read(&mut self) -> io::Result<usize> {
        match &mut self.reader {
            Some(reader) => {
                self.buffer.reserve(CHUNK);
                reader.read_buf(&mut self.buffer).await
            }
            None => std::future::pending().await,
        }
    }

    fn give(&mut self, read: usize, on_line: &mut impl FnMut(Pipe, &str)) {
        if read == 0 {
            self.reader = None;
        }
        let mut start = 0;
        for at in self.seen..self.buffer.len() {
            let byte = self.buffer[at];
            if matches!(byte, b'\n' | b'\r') {
                if byte == b'\r' || at > start || !self.after_return {
                    self.line(start, at, on_line);
                }
                self.after_return = byte == b'\r';
                start = at + 1;
            } else {
                self.after_return = false;
                if at + 1 - start > LONGEST_LINE {
                    let end = start + whole(&self.buffer[start..at]);
                    self.line(start, end, on_line);
                    start = end;
                }
            }
        }
        self.buffer.drain(..start);
        self.seen = self.buffer.len();
    }

    fn finish(&mut self, on_line: &mut impl FnMut(Pipe, &str)) {
        if !self.buffer.is_empty() {
            self.line(0, self.buffer.len(), on_line);
            self.buffer.clear();
            self.seen = 0;
        }
    }

    fn line(&self, start: usize, end: usize, on_line: &mut impl FnMut(Pipe, &str)) {
        on_line(
            self.pipe,
            &String::from_utf8_lossy(&self.buffer[start..end]),
        );
    }
}

/// How much of a piece of text holds only whole characters.
fn whole(piece: &[u8]) -> usize {
    let last = piece.utf8_chunks().last();
    piece.len() - last.map_or(0, |chunk| chunk.invalid().len())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn lines_come_from_both_pipes() {
        let mut lines = Vec::new();
        let script = r"printf 'a\n\nb\r\nc\rd'; printf 'e\n' >&2; exit 3";
        let status = run(shell(script), &CancellationToken::new(), |pipe, line| {
            lines.push((pipe, line.to_owned()));
        })
        .await
        .unwrap();
        assert_eq!(status.code(), Some(3));
        let of = |wanted: Pipe| -> Vec<&str> {
            lines
                .iter()
                .filter(|(pipe, _)| *pipe == wanted)
                .map(|(_, line)| line.as_str())
                .collect()
        };
        assert_eq!(of(Pipe::Out), ["a", "", "b", "c", "d"]);
        assert_eq!(of(Pipe::Err), ["e"]);
    }

    #[tokio::test]
    async fn a_line_without_an_end_comes_in_pieces() {
        const BYTES: usize = 30 * 1024 * 1024;
        let script = format!("head -c {BYTES} /dev/zero | tr '\\0' 'x'; printf 'äöü\\nend'");
        let started = Instant::now();
        let (mut longest, mut all, mut last) = (0, 0, String::new());
        run(shell(&script), &CancellationToken::new(), |_, line| {
            longest = longest.max(line.len());
            all += line.len();
            last = line.to_owned();
        })
        .await
        .unwrap();
        assert!(longest <= LONGEST_LINE, "{longest}");
        assert_eq!(all, BYTES + "äöüend".len());
        assert_eq!(last, "end");
        assert!(started.elapsed() < Duration::from_secs(20), "it is linear");
    }

    #[test]
    fn pieces_hold_whole_characters() {
        let text = "aä€";
        for (length, expected) in [(6, 6), (5, 3), (4, 3), (3, 3), (2, 1), (1, 1)] {
            assert_eq!(whole(&text.as_bytes()[..length]), expected, "{length}");
        }
    }

    #[tokio::test]
    async fn cancelling_ends_the_whole_group() {
        let cancel = CancellationToken::new();
        let mut grandchild = String::new();
        let started = Instant::now();
        let ended = run(shell("sleep 60 & echo $!; wait"), &cancel, |_, line| {
            grandchild = line.to_owned();
            cancel.cancel();
        })
        .await;
        assert!(matches!(ended, Err(ProcessError::Interrupted)));
        assert!(started.elapsed() < GRACE);
        let pid = Pid::from_raw(grandchild.parse().unwrap());
        let deadline = Instant::now() + Duration::from_secs(5);
        while is_running(pid) {
            assert!(Instant::now() < deadline, "the grandchild still runs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_daemon_that_holds_the_pipes_does_not_hold_us() {
        let started = Instant::now();
        let mut daemon = String::new();
        let status = run(
            shell("sleep 60 & echo $!"),
            &CancellationToken::new(),
            |_, line| {
                daemon = line.to_owned();
            },
        )
        .await
        .unwrap();
        assert!(status.success());
        assert!(started.elapsed() < Duration::from_secs(10));
        nix::sys::signal::kill(Pid::from_raw(daemon.parse().unwrap()), Signal::SIGKILL).unwrap();
    }

    /// A zombie has ended, even if nobody reaps it.
    fn is_running(pid: Pid) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }
}
