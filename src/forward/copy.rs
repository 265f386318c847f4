//! Copies one client connection to and from one upstream stream.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{Sink, SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

use super::dial::{Upstream, UpstreamError};

/// How copying ended.
#[derive(Debug)]
pub(super) enum End {
    /// Everything was passed on, or the client has gone.
    Done,
    /// Nothing of what the client sent can have had an effect: another pod may be tried.
    Retry(UpstreamError),
    /// The connection is lost.
    Broken(UpstreamError),
}

/// What the client has sent so far, as long as it may have to be sent to another pod.
#[derive(Debug, Default)]
pub(super) struct Replay {
    sent: Vec<u8>,
    given_up: bool,
}

/// A client that has sent more than this is not moved to another pod.
const REPLAY_LIMIT: usize = 1024 * 1024;
const CHUNK: usize = 32 * 1024;

/// How long an upstream may stay silent after the client has finished sending. A client that has only
/// finished sending and one that has gone look the same: the first waits for an answer that has not
/// begun, the second usually has all it wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linger {
    /// Where the pod has not answered the last bytes yet.
    pub(super) unanswered: Duration,
    /// Where it has.
    pub(super) answered: Duration,
}

impl Default for Linger {
    fn default() -> Self {
        Self {
            unanswered: Duration::from_secs(60),
            answered: Duration::from_secs(3),
        }
    }
}

/// Copies until one side has ended; the upstream is closed after that. The client's side is left open
/// for [`End::Retry`] alone.
pub(super) async fn copy(
    client: &mut TcpStream,
    upstream: Upstream,
    replay: &mut Replay,
    linger: Linger,
) -> End {
    let Upstream {
        mut outgoing,
        incoming,
    } = upstream;
    let progress = Progress::new();
    let received = exchange(client, &mut outgoing, incoming, replay, &progress, linger).await;
    // A server that does not answer the close frame shall not hold the connection.
    let _ = timeout(Duration::from_secs(1), outgoing.close()).await;
    match received {
        Received::ClientGone => End::Done,
        Received::End => {
            finish(client).await;
            End::Done
        }
        Received::Failed(error) => {
            let untouched = error.never_connected() || replay.sent.is_empty();
            if untouched && !progress.answered.load(Ordering::Relaxed) && !replay.given_up {
                End::Retry(error)
            } else {
                // A reset: the client must not take what it has for the whole answer.
                let _ = client.set_zero_linger();
                End::Broken(error)
            }
        }
    }
}

enum Received {
    /// The pod closed the stream.
    End,
    /// The stream broke.
    Failed(UpstreamError),
    /// The client takes no more.
    ClientGone,
}

enum Sent {
    /// The client has finished sending, or has gone.
    Finished,
    /// The client reset the connection.
    ClientGone,
    /// The stream takes no more; an answer may still be under way.
    Refused(UpstreamError),
}

type Outgoing = dyn Sink<Bytes, Error = UpstreamError> + Send;

async fn exchange(
    client: &mut TcpStream,
    outgoing: &mut std::pin::Pin<Box<Outgoing>>,
    incoming: BoxStream<'static, Result<Bytes, UpstreamError>>,
    replay: &mut Replay,
    progress: &Progress,
    linger: Linger,
) -> Received {
    let (from_client, to_client) = client.split();
    let mut receive = std::pin::pin!(receive(incoming, to_client, progress));
    let send = send(from_client, outgoing, replay, progress);
    let sent = tokio::select! {
        // An error that explains why nothing can be sent is worth more than the fact that nothing can.
        biased;
        received = &mut receive => return received,
        sent = send => sent,
    };
    match sent {
        Sent::ClientGone => Received::ClientGone,
        Sent::Refused(error) => match timeout(Duration::from_secs(5), receive).await {
            Ok(Received::End) if !progress.answered.load(Ordering::Relaxed) => {
                Received::Failed(error)
            }
            Ok(received) => received,
            Err(_) => Received::Failed(error),
        },
        Sent::Finished => loop {
            let left = progress.patience(linger);
            if left.is_zero() {
                return Received::End;
            }
            tokio::select! {
                received = &mut receive => return received,
                // An answer that begins meanwhile makes the time that is left shorter.
                () = sleep(left.min(linger.answered)) => {}
            }
        },
    }
}

async fn send(
    mut from_client: ReadHalf<'_>,
    outgoing: &mut std::pin::Pin<Box<Outgoing>>,
    replay: &mut Replay,
    progress: &Progress,
) -> Sent {
    if !replay.sent.is_empty() {
        progress.sent();
        if let Err(error) = outgoing.send(Bytes::copy_from_slice(&replay.sent)).await {
            return Sent::Refused(error);
        }
    }
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        match from_client.read_buf(&mut buffer).await {
            Ok(0) => return Sent::Finished,
            Ok(_) => {}
            Err(_) => return Sent::ClientGone,
        }
        let chunk = buffer.split().freeze();
        replay.keep(&chunk, progress.answered.load(Ordering::Relaxed));
        progress.sent();
        if let Err(error) = outgoing.send(chunk).await {
            return Sent::Refused(error);
        }
    }
}

async fn receive(
    mut incoming: BoxStream<'static, Result<Bytes, UpstreamError>>,
    mut to_client: WriteHalf<'_>,
    progress: &Progress,
) -> Received {
    while let Some(item) = incoming.next().await {
        match item {
            Ok(data) => {
                progress.received();
                if to_client.write_all(&data).await.is_err() {
                    return Received::ClientGone;
                }
                progress.received();
            }
            Err(error) => return Received::Failed(error),
        }
    }
    Received::End
}

/// Ends the client's side so that it reads everything: closing a socket with unread input would reset
/// it, and a reset can overtake the answer.
async fn finish(client: &mut TcpStream) {
    let drain = async {
        client.shutdown().await?;
        let mut rest = [0; 4096];
        while client.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(Duration::from_secs(1), drain).await;
}

impl Replay {
    fn keep(&mut self, chunk: &[u8], answered: bool) {
        if self.given_up {
            return;
        }
        if answered || self.sent.len() + chunk.len() > REPLAY_LIMIT {
            self.given_up = true;
            self.sent = Vec::new();
        } else {
            self.sent.extend_from_slice(chunk);
        }
    }
}

/// What has happened on both directions, for the decision how long to wait.
struct Progress {
    start: Instant,
    /// Whether the pod has sent anything at all.
    answered: AtomicBool,
    /// Whether the client has sent something since the pod did.
    waiting: AtomicBool,
    /// Milliseconds from `start` to the last byte in either direction.
    last: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            answered: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            last: AtomicU64::new(0),
        }
    }

    fn sent(&self) {
        self.waiting.store(true, Ordering::Relaxed);
        self.touch();
    }

    fn received(&self) {
        self.answered.store(true, Ordering::Relaxed);
        self.waiting.store(false, Ordering::Relaxed);
        self.touch();
    }

    fn touch(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    /// How long the upstream may still stay silent.
    fn patience(&self, linger: Linger) -> Duration {
        let limit = if self.waiting.load(Ordering::Relaxed) {
            linger.unanswered
        } else {
            linger.answered
        };
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        limit.saturating_sub(self.start.elapsed().saturating_sub(last))
    }
}
