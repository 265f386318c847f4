//! One worker's view of the stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};
use redis::streams::{StreamInfoConsumersReply, StreamPendingCountReply};
use redis::{Pipeline, Value, cmd, pipe};
use service_kit::redis::{CommandError, Redis};
use uuid::Uuid;

use super::peers::Peers;
use super::{DEAD_LETTERS, GROUP, STREAM};
use crate::stream::entry::{Entry, entries, read_entries};
use crate::stream::{Consumer, DeadLetter, Delivery, Message, StreamError, Survey};

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

/// Takes messages off that are still pending under the name that they were delivered to. After a failure of Redis that
/// lost messages an id may be that of another one, which must not go with them.
const SETTLE: &str = "
    local mine = {}
    for i = 3, #ARGV do
        if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) == 1 then
            mine[#mine + 1] = ARGV[i]
        end
    end
    if #mine > 0 then
        redis.call('XACK', KEYS[1], ARGV[1], unpack(mine))
        redis.call('XDEL', KEYS[1], unpack(mine))
    end
    return #mine";
/// Moves one such message.
const REJECT: &str = "
    local id = ARGV[3]
    if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2]) == 0 then
        return 0
    end
    redis.call('XADD', KEYS[2], '*', 'id', id, unpack(ARGV, 4))
    redis.call('XACK', KEYS[1], ARGV[1], id)
    redis.call('XDEL', KEYS[1], id)
    return 1";

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
    name: Arc<str>,
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
        match self.redis.query::<()>(&command).await {
            Err(CommandError::Refused(error)) if error.code() == Some("BUSYGROUP") => {}
            result => self.noted(result)?,
        }
        self.state().group_exists = true;
        Ok(())
    }

    async fn read_new(&self, count: usize, wait: Duration) -> Result<Vec<Message>, StreamError> {
        self.make_group().await?;
        let wait = wait.min(LONGEST_WAIT).as_millis().max(1) as u64;
        let name = self.name();
        let mut both = named(&name);
        both.cmd("XREADGROUP").arg("GROUP").arg(GROUP).arg(&*name);
        both.arg("COUNT").arg(count).arg("BLOCK").arg(wait);
        both.arg("STREAMS").arg(STREAM).arg(">");
        let answer = self.waiting.pipeline(&both).await;
        let (answer,): (Value,) = self.noted(answer)?;
        Ok(self.messages(read_entries(answer), &name))
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
        let clock = self.state().clock;
        let oldest = entries(first).pop().map(|(id, _)| added(&id, clock));
        Ok(Survey {
            messages,
            oldest,
            taken_over: self.bury(&dead, count).await?,
        })
    }

    /// Takes over what the dead have, up to `count` messages, and removes those that have nothing.
    async fn bury(&self, dead: &[String], count: usize) -> Result<Vec<Message>, StreamError> {
        let mut taken = Vec::new();
        for name in dead {
            while taken.len() < count {
                let ids = self.pending(name, (count - taken.len()).min(PAGE)).await?;
                if ids.is_empty() {
                    self.remove(name).await?;
                    break;
                }
                let claimed = self.claim(ids).await?;
                if claimed.is_empty() {
                    // Another survivor is at it.
                    break;
                }
                taken.extend(claimed);
            }
        }
        Ok(taken)
    }

    /// Up to `count` ids of the messages that a consumer has.
    async fn pending(&self, name: &str, count: usize) -> Result<Vec<String>, StreamError> {
        let mut pending = cmd("XPENDING");
        pending.arg(STREAM).arg(GROUP).arg("-").arg("+");
        pending.arg(count).arg(name);
        let pending = self.redis.query(&pending).await;
        let pending: StreamPendingCountReply = self.noted(pending)?;
        Ok(pending.ids.into_iter().map(|one| one.id).collect())
    }

    async fn claim(&self, ids: Vec<String>) -> Result<Vec<Message>, StreamError> {
        let heir = self.name();
        let mut claim = cmd("XCLAIM");
        claim.arg(STREAM).arg(GROUP).arg(&*heir);
        claim.arg(TAKEN_RECENTLY.as_millis() as u64).arg(ids);
        let claimed = self.redis.query(&claim).await;
        Ok(self.messages(entries(self.noted(claimed)?), &heir))
    }

    async fn remove(&self, name: &str) -> Result<(), StreamError> {
        let mut remove = cmd("EVAL");
        remove.arg(REMOVE_IF_IDLE).arg(1).arg(STREAM).arg(GROUP);
        remove.arg(name);
        let removed = self.redis.query::<u64>(&remove).await;
        self.noted(removed).map(drop)
    }

    async fn take_off(&self, deliveries: &[Delivery]) -> Result<(), StreamError> {
        for same in deliveries.chunk_by(|one, next| one.consumer == next.consumer) {
            for page in same.chunks(PAGE) {
                let mut settle = cmd("EVAL");
                settle.arg(SETTLE).arg(1).arg(STREAM).arg(GROUP);
                settle.arg(&*page[0].consumer);
                for delivery in page {
                    settle.arg(&delivery.id);
                }
                let settled = self.redis.query::<u64>(&settle).await;
                self.noted(settled)?;
            }
        }
        Ok(())
    }

    async fn give_up(&self, letters: &[DeadLetter]) -> Result<usize, StreamError> {
        let mut all = pipe();
        for letter in letters {
            let Delivery { consumer, id } = &letter.delivery;
            all.cmd("EVAL").arg(REJECT).arg(2).arg(STREAM);
            all.arg(DEAD_LETTERS).arg(GROUP).arg(&**consumer).arg(id);
            all.arg("reason").arg(&letter.reason);
            all.arg("message").arg(&letter.content);
            if let Some(request) = &letter.request_id {
                all.arg("request_id").arg(request);
            }
        }
        let moved = self.redis.pipeline::<Vec<usize>>(&all).await;
        Ok(self.noted(moved)?.iter().sum())
    }

    fn messages(&self, entries: Vec<Entry>, consumer: &Arc<str>) -> Vec<Message> {
        let clock = self.state().clock;
        let message = |(id, fields): Entry| Message {
            added: added(&id, clock),
            delivery: Delivery {
                consumer: consumer.clone(),
                id,
            },
            fields,
        };
        entries.into_iter().map(message).collect()
    }

    /// What follows from a failure. A new name: under this one messages may be pending that never came or are not
    /// settled, and would stay so while it lives; and the next command may go to another server, which knows other
    /// messages. A group that may have to be made again, where Redis lost its data.
    fn noted<T>(&self, result: Result<T, CommandError>) -> Result<T, StreamError> {
        if result.is_err() {
            let mut state = self.state();
            state.peers.forget();
            state.name = new_name(&self.host);
            state.group_exists = false;
        }
        Ok(result?)
    }

    fn name(&self) -> Arc<str> {
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

    fn settle<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Result<(), StreamError>> {
        self.take_off(deliveries).boxed()
    }

    fn reject<'a>(
        &'a self,
        letters: &'a [DeadLetter],
    ) -> BoxFuture<'a, Result<usize, StreamError>> {
        self.give_up(letters).boxed()
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
fn new_name(host: &str) -> Arc<str> {
    format!("{host}-{}", Uuid::new_v4().simple()).into()
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
