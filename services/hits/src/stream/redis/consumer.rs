//! One worker's view of the stream.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};
use redis::streams::{StreamInfoConsumersReply, StreamPendingCountReply};
use redis::{FromRedisValue, Pipeline, Value, cmd, pipe};
use service_kit::redis::{CommandError, Redis};
use uuid::Uuid;

use super::peers::Peers;
use super::{DEAD_LETTERS, GROUP, STREAM};
use crate::stream::entry::{Entry, entries, read_entries};
use crate::stream::{Consumer, DeadLetter, Message, StreamError, Survey};

/// The longest wait for a message in one command: how late the end of the process may be noticed.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// A message that somebody was given more recently is not taken over: another survivor was faster.
const TAKEN_RECENTLY: Duration = Duration::from_millis(100);
/// How many messages one command names.
const PAGE: usize = 1000;
/// Removes a consumer that has nothing. One that has would take its messages with it, so it is one step.
const REMOVE_IF_IDLE: &str = "
    for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
        if consumer[2] == ARGV[2] and consumer[4] == 0 then
            return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
        end
    end
    return 0";

/// A consumer of the group.
///
/// Whenever it is in doubt what Redis did, it takes a new name, and what is pending under the old one is taken over
/// like that of a dead consumer, by itself or another.
#[derive(Debug)]
pub struct RedisConsumer {
    redis: Redis,
    /// For commands that wait, during which nothing else passes.
    waiting: Redis,
    host: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    name: String,
    group_exists: bool,
    clock: Option<Clock>,
    peers: Peers,
}

/// What Redis's clock, by which messages get their ids, showed at a moment of ours.
#[derive(Clone, Copy, Debug)]
struct Clock {
    at: Instant,
    millis: u64,
}

impl RedisConsumer {
    /// A consumer whose names begin with `host`, which no spaces are in.
    pub fn new(redis: &Redis, host: &str) -> Self {
        Self {
            redis: redis.clone(),
            waiting: redis.blocking(LONGEST_WAIT),
            state: Mutex::new(State {
                name: new_name(host),
                group_exists: false,
                clock: None,
                peers: Peers::default(),
            }),
            host: host.to_owned(),
        }
    }

    /// Makes the group, at the beginning of the stream, unless it is there.
    async fn make_group(&self) -> Result<(), StreamError> {
        if self.state().group_exists {
            return Ok(());
        }
        let mut command = cmd("XGROUP");
        command.arg("CREATE").arg(STREAM).arg(GROUP).arg("0");
        command.arg("MKSTREAM");
        match self.redis.query_twice::<()>(&command).await {
            Err(CommandError::Refused(error)) if error.code() == Some("BUSYGROUP") => {}
            result => result?,
        }
        self.state().group_exists = true;
        Ok(())
    }

    async fn read_new(&self, count: usize, wait: Duration) -> Result<Vec<Message>, StreamError> {
        self.make_group().await?;
        let wait = wait.min(LONGEST_WAIT).as_millis().max(1) as u64;
        let name = self.name();
        let mut both = named(&name);
        both.cmd("XREADGROUP").arg("GROUP").arg(GROUP).arg(&name);
        both.arg("COUNT").arg(count).arg("BLOCK").arg(wait);
        both.arg("STREAMS").arg(STREAM).arg(">");
        let answer = self.waiting.pipeline(&both).await;
        let (answer,): (Value,) = self.noted(answer)?;
        Ok(self.messages(read_entries(answer)))
    }

    async fn look(&self, count: usize) -> Result<Survey, StreamError> {
        self.make_group().await?;
        let asked = Instant::now();
        let mut all = named(&self.name());
        all.cmd("TIME").cmd("XLEN").arg(STREAM);
        all.cmd("XRANGE").arg(STREAM).arg("-").arg("+");
        all.arg("COUNT").arg(1);
        all.cmd("XINFO").arg("CONSUMERS").arg(STREAM).arg(GROUP);
        all.cmd("CLIENT").arg("LIST");
        let answer = self.redis.pipeline(&all).await;
        let (time, messages, first, consumers, clients): (
            (u64, u64),
            u64,
            Value,
            StreamInfoConsumersReply,
            String,
        ) = self.noted(answer)?;
        let names: Vec<String> = consumers
            .consumers
            .into_iter()
            .map(|one| one.name)
            .collect();
        let dead = {
            let mut state = self.state();
            // Asked before Redis looked at it, so a message is rather thought too old than too young.
            state.clock = Some(Clock {
                at: asked,
                millis: time.0 * 1000 + time.1 / 1000,
            });
            state.peers.dead(&names, &clients, asked)
        };
        let first = self.messages(entries(first)).pop();
        Ok(Survey {
            messages,
            oldest: first.map(|message| message.added),
            taken_over: self.bury(&dead, count).await?,
        })
    }

    /// Takes over what the dead have, up to `count` messages, and removes those that have nothing.
    async fn bury(&self, dead: &[String], count: usize) -> Result<Vec<Message>, StreamError> {
        let mut taken = Vec::new();
        for name in dead {
            let room = (count - taken.len()).min(PAGE);
            if room == 0 {
                break;
            }
            let mut pending = cmd("XPENDING");
            pending.arg(STREAM).arg(GROUP).arg("-").arg("+");
            pending.arg(room).arg(name);
            let pending: StreamPendingCountReply = self.redis.query(&pending).await?;
            if pending.ids.is_empty() {
                self.remove(name).await?;
                continue;
            }
            let ids: Vec<String> = pending.ids.into_iter().map(|one| one.id).collect();
            let mut claim = cmd("XCLAIM");
            claim.arg(STREAM).arg(GROUP).arg(self.name());
            claim.arg(TAKEN_RECENTLY.as_millis() as u64).arg(ids);
            let claimed = self.redis.query(&claim).await;
            taken.extend(self.messages(entries(self.noted(claimed)?)));
        }
        Ok(taken)
    }

    async fn remove(&self, name: &str) -> Result<(), StreamError> {
        let mut remove = cmd("EVAL");
        remove.arg(REMOVE_IF_IDLE).arg(1).arg(STREAM).arg(GROUP);
        remove.arg(name);
        let _pending: u64 = self.redis.query(&remove).await?;
        Ok(())
    }

    async fn take_off(&self, ids: &[String]) -> Result<(), StreamError> {
        for page in ids.chunks(PAGE) {
            let mut both = pipe();
            both.atomic();
            both.cmd("XACK").arg(STREAM).arg(GROUP).arg(page).ignore();
            both.cmd("XDEL").arg(STREAM).arg(page).ignore();
            let done = self.redis.pipeline(&both).await;
            self.settled(done)?;
        }
        Ok(())
    }

    async fn give_up(&self, letter: &DeadLetter) -> Result<(), StreamError> {
        let id = &letter.id;
        let mut all = pipe();
        all.atomic();
        all.cmd("XADD").arg(DEAD_LETTERS).arg("*");
        all.arg("id").arg(id).arg("reason").arg(&letter.reason);
        all.arg("message").arg(&letter.content);
        if let Some(request) = &letter.request_id {
            all.arg("request_id").arg(request);
        }
        all.ignore();
        all.cmd("XACK").arg(STREAM).arg(GROUP).arg(id).ignore();
        all.cmd("XDEL").arg(STREAM).arg(id).ignore();
        let done = self.redis.pipeline(&all).await;
        self.settled(done)
    }

    fn messages(&self, entries: Vec<Entry>) -> Vec<Message> {
        let clock = self.state().clock;
        let message = |(id, fields): Entry| Message {
            added: added(&id, clock),
            id,
            fields,
        };
        entries.into_iter().map(message).collect()
    }

    /// What follows from a failure: a new name where messages may be pending under this one that never came, and a
    /// group that may have to be made again, where Redis lost its data.
    fn noted<T: FromRedisValue>(&self, result: Result<T, CommandError>) -> Result<T, StreamError> {
        if let Err(error) = &result {
            let mut state = self.state();
            state.peers.forget();
            match error {
                CommandError::Interrupted(_) => state.name = new_name(&self.host),
                _ => state.group_exists = false,
            }
        }
        Ok(result?)
    }

    /// The same for what is not settled: under a name that lives it would stay so.
    fn settled(&self, result: Result<(), CommandError>) -> Result<(), StreamError> {
        if result.is_err() {
            self.state().name = new_name(&self.host);
        }
        Ok(result?)
    }

    fn name(&self) -> String {
        self.state().name.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Consumer for RedisConsumer {
    fn read(
        &self,
        count: usize,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Message>, StreamError>> {
        self.read_new(count, wait).boxed()
    }

    fn survey(&self, count: usize) -> BoxFuture<'_, Result<Survey, StreamError>> {
        self.look(count).boxed()
    }

    fn settle<'a>(&'a self, ids: &'a [String]) -> BoxFuture<'a, Result<(), StreamError>> {
        self.take_off(ids).boxed()
    }

    fn reject<'a>(&'a self, letter: &'a DeadLetter) -> BoxFuture<'a, Result<(), StreamError>> {
        self.give_up(letter).boxed()
    }

    /// Workers that come and go do not pile up in the group.
    fn leave(&self) -> BoxFuture<'_, Result<(), StreamError>> {
        async { self.remove(&self.name()).await }.boxed()
    }
}

impl From<CommandError> for StreamError {
    fn from(error: CommandError) -> Self {
        Self(Box::new(error))
    }
}

/// The beginning of a pipeline by which Redis knows whose connection this is.
fn named(name: &str) -> Pipeline {
    let mut pipeline = pipe();
    pipeline.cmd("CLIENT").arg("SETNAME").arg(name).ignore();
    pipeline
}

/// A name that no consumer has had.
fn new_name(host: &str) -> String {
    format!("{host}-{}", Uuid::new_v4().simple())
}

/// When a message got its id, by our clock.
fn added(id: &str, clock: Option<Clock>) -> Instant {
    let now = Instant::now();
    let millis = id
        .split_once('-')
        .and_then(|(millis, _)| millis.parse::<u64>().ok());
    let (Some(clock), Some(millis)) = (clock, millis) else {
        return now;
    };
    let added = if millis <= clock.millis {
        clock
            .at
            .checked_sub(Duration::from_millis(clock.millis - millis))
    } else {
        clock
            .at
            .checked_add(Duration::from_millis(millis - clock.millis))
    };
    added.unwrap_or(now).min(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_message_is_by_the_clock_that_it_got_its_id_from() {
        let at = Instant::now() - Duration::from_secs(1);
        let clock = Some(Clock { at, millis: 5000 });
        assert_eq!(added("3000-7", clock), at - Duration::from_secs(2));
        assert_eq!(added("5500-0", clock), at + Duration::from_millis(500));
        // None is younger than now, whatever the clocks say.
        for (id, clock) in [("9000-0", clock), ("x", clock), ("3000-0", None)] {
            assert!(
                added(id, clock).elapsed() < Duration::from_millis(100),
                "{id}"
            );
        }
    }
}
