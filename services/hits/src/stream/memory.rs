//! A stream in the memory of this process: gone with it, for trying things out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{self, BoxFuture, FutureExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{AppendError, Consumer, DeadLetter, Message, Producer, StreamError, Survey};
use crate::increment::Increment;

/// Messages that wait for a worker; more are refused, since nothing else bounds what they take.
const LONGEST: usize = 1_000_000;
/// Dead letters that are kept, the newest.
const DEAD_LETTERS: usize = 1000;

/// A stream in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStream(Arc<Shared>);

/// One who reads it; dead when it is dropped.
#[derive(Debug)]
pub struct MemoryConsumer {
    stream: MemoryStream,
    name: String,
}

#[derive(Debug, Default)]
struct Shared {
    content: Mutex<Content>,
    appended: Notify,
}

#[derive(Debug, Default)]
struct Content {
    /// How many there ever were, for their ids.
    total: u64,
    /// All of them, by number.
    messages: BTreeMap<u64, Message>,
    /// Those that nobody has had.
    waiting: VecDeque<u64>,
    /// Those that were delivered, by consumer.
    delivered: HashMap<String, Vec<u64>>,
    /// What was left behind.
    orphans: VecDeque<u64>,
    dead_letters: VecDeque<DeadLetter>,
}

impl MemoryStream {
    /// A consumer by that name, which no other has.
    pub fn consumer(&self, name: &str) -> MemoryConsumer {
        MemoryConsumer {
            stream: self.clone(),
            name: name.to_owned(),
        }
    }

    /// The dead letters, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.content().dead_letters.iter().cloned().collect()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0
            .content
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, increment: &Increment) -> Result<(), AppendError> {
        let mut content = self.content();
        if content.messages.len() >= LONGEST {
            return Err(AppendError::Full(LONGEST as u64));
        }
        let number = content.total;
        content.total += 1;
        let message = Message {
            id: format!("0-{number}"),
            added: Instant::now(),
            fields: increment.fields(),
        };
        content.messages.insert(number, message);
        content.waiting.push_back(number);
        drop(content);
        self.0.appended.notify_one();
        Ok(())
    }
}

impl Content {
    fn deliver(&mut self, numbers: Vec<u64>, consumer: &str) -> Vec<Message> {
        let messages = numbers
            .iter()
            .filter_map(|number| self.messages.get(number));
        let messages = messages.cloned().collect();
        let delivered = self.delivered.entry(consumer.to_owned()).or_default();
        delivered.extend(numbers);
        messages
    }

    /// Takes messages off, whoever had them.
    fn remove(&mut self, ids: &[String]) {
        for number in ids
            .iter()
            .filter_map(|id| id.strip_prefix("0-")?.parse().ok())
        {
            self.messages.remove(&number);
        }
        for delivered in self.delivered.values_mut() {
            delivered.retain(|number| self.messages.contains_key(number));
        }
    }

    fn leave(&mut self, consumer: &str) {
        let left = self.delivered.remove(consumer).unwrap_or_default();
        self.orphans.extend(left);
    }
}

impl Producer for MemoryStream {
    fn append<'a>(&'a self, increment: &'a Increment) -> BoxFuture<'a, Result<(), AppendError>> {
        future::ready(self.add(increment)).boxed()
    }
}

impl MemoryConsumer {
    fn take(&self, count: usize) -> Vec<Message> {
        let mut content = self.stream.content();
        let count = count.min(content.waiting.len());
        let numbers = content.waiting.drain(..count).collect();
        content.deliver(numbers, &self.name)
    }

    async fn wait_and_take(&self, count: usize, wait: Duration) -> Vec<Message> {
        let appended = self.stream.0.appended.notified();
        let there = self.take(count);
        if there.is_empty() && timeout(wait, appended).await.is_ok() {
            return self.take(count);
        }
        there
    }

    fn look(&self, count: usize) -> Survey {
        let mut content = self.stream.content();
        let count = count.min(content.orphans.len());
        let numbers = content.orphans.drain(..count).collect();
        Survey {
            taken_over: content.deliver(numbers, &self.name),
            messages: content.messages.len() as u64,
            oldest: content
                .messages
                .values()
                .next()
                .map(|message| message.added),
        }
    }

    fn give_up(&self, letter: &DeadLetter) {
        let mut content = self.stream.content();
        content.remove(std::slice::from_ref(&letter.id));
        content.dead_letters.push_back(letter.clone());
        if content.dead_letters.len() > DEAD_LETTERS {
            content.dead_letters.pop_front();
        }
    }
}

impl Consumer for MemoryConsumer {
    fn read(
        &self,
        count: usize,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Message>, StreamError>> {
        self.wait_and_take(count, wait).map(Ok).boxed()
    }

    fn survey(&self, count: usize) -> BoxFuture<'_, Result<Survey, StreamError>> {
        future::ready(Ok(self.look(count))).boxed()
    }

    fn settle<'a>(&'a self, ids: &'a [String]) -> BoxFuture<'a, Result<(), StreamError>> {
        self.stream.content().remove(ids);
        future::ready(Ok(())).boxed()
    }

    fn reject<'a>(&'a self, letter: &'a DeadLetter) -> BoxFuture<'a, Result<(), StreamError>> {
        self.give_up(letter);
        future::ready(Ok(())).boxed()
    }

    fn leave(&self) -> BoxFuture<'_, Result<(), StreamError>> {
        self.stream.content().leave(&self.name);
        future::ready(Ok(())).boxed()
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.stream.content().leave(&self.name);
    }
}
