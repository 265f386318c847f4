//! One accepted connection: picks a pod, opens a stream, and picks another where that fails.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::copy::{End, Linger, Replay, copy};
use super::dial::{Dial, Upstream, UpstreamError};
use super::pods::{ReadyPod, choose};

/// What connections of one forwarded port share.
pub(super) struct Route<D> {
    pub(super) dial: D,
    pub(super) port: u16,
    pub(super) pods: watch::Receiver<Vec<ReadyPod>>,
    pub(super) limits: Limits,
}

/// How long a connection waits for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For a pod that takes it, before it is closed.
    pub(super) pod: Duration,
    /// For one stream to be opened.
    pub(super) dial: Duration,
    pub(super) linger: Linger,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pod: Duration::from_secs(10),
            dial: Duration::from_secs(5),
            linger: Linger::default(),
        }
    }
}

/// Why a connection was closed before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// No pod took it.
    #[error("no pod was ready in time")]
    NoPod(#[source] Option<UpstreamError>),
    /// Its stream broke.
    #[error("the stream to pod `{pod}` broke")]
    Broken {
        pod: String,
        #[source]
        source: UpstreamError,
    },
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A stream that lived this long was a good one: what follows is a new search.
const SETTLED: Duration = Duration::from_secs(1);

impl<D: Dial> Route<D> {
    /// Serves a client until it or the pod has ended.
    pub(super) async fn serve(&self, mut client: TcpStream) -> Result<(), Lost> {
        let _ = client.set_nodelay(true);
        let mut pods = self.pods.clone();
        let mut search = Search::new();
        let mut replay = Replay::default();
        let mut deadline = Instant::now() + self.limits.pod;
        loop {
            let found = timeout_at(deadline, next(&mut pods, &search.failed)).await;
            let pod = match found {
                Ok(pod) if Instant::now() < deadline => pod,
                _ => {
                    let _ = client.set_zero_linger();
                    return Err(Lost::NoPod(search.last));
                }
            };
            let opened = Instant::now();
            let error = match self.open(&pod, deadline).await {
                Ok(upstream) => {
                    match copy(&mut client, upstream, &mut replay, self.limits.linger).await {
                        End::Done => return Ok(()),
                        End::Broken(source) => return Err(Lost::Broken { pod, source }),
                        End::Retry(error) => error,
                    }
                }
                Err(error) => error,
            };
            tracing::debug!(pod, port = self.port, %error, "the next pod is tried");
            if opened.elapsed() > SETTLED.max(self.limits.dial) {
                deadline = Instant::now() + self.limits.pod;
            }
            search.failed(pod, error);
            if choose(&pods.borrow(), &search.failed).is_none() {
                search.pause().await;
            }
        }
    }

    async fn open(&self, pod: &str, deadline: Instant) -> Result<Upstream, UpstreamError> {
        let limit = self
            .limits
            .dial
            .min(deadline.saturating_duration_since(Instant::now()));
        timeout(limit, self.dial.dial(pod, self.port))
            .await
            .unwrap_or(Err(UpstreamError::Slow))
    }
}

/// Waits for a pod that has not failed.
async fn next(pods: &mut watch::Receiver<Vec<ReadyPod>>, failed: &BTreeSet<String>) -> String {
    loop {
        if let Some(pod) = choose(&pods.borrow_and_update(), failed) {
            return pod.name.clone();
        }
        if pods.changed().await.is_err() {
            // The forwarder is being dropped, and this task with it.
            std::future::pending::<()>().await;
        }
    }
}

/// The pods that were tried, and how long to wait before they are tried again.
struct Search {
    failed: BTreeSet<String>,
    pause: Duration,
    last: Option<UpstreamError>,
}

impl Search {
    fn new() -> Self {
        Self {
            failed: BTreeSet::new(),
            pause: FIRST_PAUSE,
            last: None,
        }
    }

    fn failed(&mut self, pod: String, error: UpstreamError) {
        self.failed.insert(pod);
        self.last = Some(error);
    }

    /// Every pod has failed: waits, and forgets that.
    async fn pause(&mut self) {
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.failed.clear();
    }
}

#[cfg(test)]
mod tests;
