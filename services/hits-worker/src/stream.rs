//! The stream and its consumer group. The names and fields are the contract
//! with `hits-api`.

use std::time::Duration;

use redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};
use redis::{cmd, pipe};
use service_kit::redis::{CommandError, Redis};

use crate::message::Reject;

const STREAM: &str = "hits";
const GROUP: &str = "hits-worker";
/// Where messages go that can never be applied; kept until someone looks.
const DEAD_LETTERS: &str = "hits:dead";
/// The longest wait for a message in one command: how late the end of the
/// process may be noticed.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// The stream, as one consumer sees it.
#[derive(Debug)]
pub(crate) struct Stream {
    redis: Redis,
    /// For commands that wait, during which nothing else passes.
    waiting: Redis,
    consumer: String,
    claim_from: String,
}

impl Stream {
    pub(crate) fn new(redis: &Redis, consumer: String) -> Self {
        Self {
            redis: redis.clone(),
            waiting: redis.blocking(LONGEST_WAIT),
            consumer,
            claim_from: "0-0".to_owned(),
        }
    }

    /// Makes the group, at the beginning of the stream, unless it is there.
    pub(crate) async fn create_group(&self) -> Result<(), CommandError> {
        let mut command = cmd("XGROUP");
        command
            .arg("CREATE")
            .arg(STREAM)
            .arg(GROUP)
            .arg("0")
            .arg("MKSTREAM");
        let made: Result<(), _> = self.redis.query_twice(&command).await;
        match made {
            Err(CommandError::Refused(error)) if error.code() == Some("BUSYGROUP") => Ok(()),
            result => result,
        }
    }

    /// Up to `count` messages that no consumer has had yet; waits up to `wait`
    /// for the first. Do not drop it midway: what Redis has handed out then
    /// comes back only when it has been idle for long enough.
    pub(crate) async fn read(
        &self,
        count: usize,
        wait: Duration,
    ) -> Result<Vec<StreamId>, CommandError> {
        let wait = wait.min(LONGEST_WAIT).as_millis().max(1) as u64;
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(&self.consumer);
        command.arg("COUNT").arg(count).arg("BLOCK").arg(wait);
        command.arg("STREAMS").arg(STREAM).arg(">");
        let reply: Option<StreamReadReply> = self.waiting.query(&command).await?;
        let streams = reply.map(|reply| reply.keys).unwrap_or_default();
        Ok(streams.into_iter().flat_map(|stream| stream.ids).collect())
    }

    /// Takes over up to `count` messages that some consumer has had for longer
    /// than `idle` without settling them: it died, or its word got lost.
    pub(crate) async fn claim(
        &mut self,
        count: usize,
        idle: Duration,
    ) -> Result<Vec<StreamId>, CommandError> {
        let idle = idle.as_millis() as u64;
        let mut command = cmd("XAUTOCLAIM");
        command.arg(STREAM).arg(GROUP).arg(&self.consumer);
        command
            .arg(idle)
            .arg(&self.claim_from)
            .arg("COUNT")
            .arg(count);
        let reply: StreamAutoClaimReply = self.redis.query(&command).await?;
        self.claim_from = reply.next_stream_id;
        Ok(reply.claimed)
    }

    /// Takes messages off the stream that have been applied.
    pub(crate) async fn settle(&self, ids: &[&str]) -> Result<(), CommandError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut both = pipe();
        both.atomic();
        both.cmd("XACK").arg(STREAM).arg(GROUP).arg(ids).ignore();
        both.cmd("XDEL").arg(STREAM).arg(ids).ignore();
        self.redis.pipeline(&both).await
    }

    /// Moves a message to the dead letters. When this has to be repeated, the
    /// letter may be there twice; it is never lost.
    pub(crate) async fn reject(&self, reject: &Reject) -> Result<(), CommandError> {
        let mut all = pipe();
        all.atomic();
        all.cmd("XADD").arg(DEAD_LETTERS).arg("*");
        all.arg("id").arg(&reject.id);
        all.arg("reason").arg(&reject.reason);
        all.arg("message").arg(&reject.content).ignore();
        all.cmd("XACK")
            .arg(STREAM)
            .arg(GROUP)
            .arg(&reject.id)
            .ignore();
        all.cmd("XDEL").arg(STREAM).arg(&reject.id).ignore();
        self.redis.pipeline(&all).await
    }

    /// Leaves the group if nothing is pending here, so that workers that come
    /// and go do not pile up in it. What is pending would be lost with the name.
    pub(crate) async fn leave(&self) -> Result<(), CommandError> {
        let mut pending = cmd("XPENDING");
        pending
            .arg(STREAM)
            .arg(GROUP)
            .arg("-")
            .arg("+")
            .arg(1)
            .arg(&self.consumer);
        let pending: Vec<redis::Value> = self.redis.query_twice(&pending).await?;
        if pending.is_empty() {
            let mut leave = cmd("XGROUP");
            leave
                .arg("DELCONSUMER")
                .arg(STREAM)
                .arg(GROUP)
                .arg(&self.consumer);
            let _pending: u64 = self.redis.query(&leave).await?;
        }
        Ok(())
    }
}

/// Whether the group has to be made again: Redis lost its data.
pub(crate) fn group_is_gone(error: &CommandError) -> bool {
    matches!(error, CommandError::Refused(error) if error.code() == Some("NOGROUP"))
}
