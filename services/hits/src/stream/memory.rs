//! A stream in the memory of this process: gone with it, for trying things out.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{self, BoxFuture, FutureExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{AppendError, Consumer, DeadLetter, Delivery, Message, Producer, StreamError, Survey};
use crate::increment::{Fields, Increment};

/// How long it may get; nothing else bounds what it takes.
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
    name: Arc<str>,
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
    messages: BTreeMap<u64, Entry>,
    /// Those that nobody has had.
    waiting: VecDeque<u64>,
    /// Those that were delivered, by consumer.
    delivered: HashMap<Arc<str>, BTreeSet<u64>>,
    /// What was left behind.
    orphans: VecDeque<u64>,
    dead_letters: VecDeque<DeadLetter>,
}

#[derive(Debug)]
struct Entry {
    added: Instant,
    fields: Fields,
}

impl MemoryStream {
    /// A consumer by that name, which no other has.
    pub fn consumer(&self, name: &str) -> MemoryConsumer {
        MemoryConsumer {
            stream: self.clone(),
            name: name.into(),
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
        let entry = Entry {
            added: Instant::now(),
            fields: increment.fields(),
        };
        content.messages.insert(number, entry);
        content.waiting.push_back(number);
        drop(content);
        self.0.appended.notify_one();
        Ok(())
    }
}

impl Content {
    fn deliver(&mut self, numbers: Vec<u64>, consumer: &Arc<str>) -> Vec<Message> {
        let message = |number: &u64| {
            let entry = self.messages.get(number)?;
            let delivery = Delivery {
                consumer: consumer.clone(),
                id: format!("0-{number}"),
            };
            Some(Message {
                delivery,
                added: entry.added,
                fields: entry.fields.clone(),
            })
        };
        let messages = numbers.iter().filter_map(message).collect();
        let delivered = self.delivered.entry(consumer.clone()).or_default();
        delivered.extend(numbers);
        messages
    }

    /// Takes a message off, if it is still with whom it was delivered to.
    fn remove(&mut self, delivery: &Delivery) -> bool {
        let number = delivery
            .id
            .strip_prefix("0-")
            .and_then(|id| id.parse().ok());
        let has = self.delivered.get_mut(&delivery.consumer);
        let (Some(number), Some(has)) = (number, has) else {
            return false;
        };
        has.remove(&number) && self.messages.remove(&number).is_some()
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

    fn give_up(&self, letters: &[DeadLetter]) -> usize {
        let mut content = self.stream.content();
        let mut given_up = 0;
        for letter in letters {
            if content.remove(&letter.delivery) {
                content.dead_letters.push_back(letter.clone());
                given_up += 1;
            }
        }
        let surplus = content.dead_letters.len().saturating_sub(DEAD_LETTERS);
        content.dead_letters.drain(..surplus);
        given_up
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

    fn settle<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Result<(), StreamError>> {
        let mut content = self.stream.content();
        for delivery in deliveries {
            content.remove(delivery);
        }
        future::ready(Ok(())).boxed()
    }

    fn reject<'a>(
        &'a self,
        letters: &'a [DeadLetter],
    ) -> BoxFuture<'a, Result<usize, StreamError>> {
        future::ready(Ok(self.give_up(letters))).boxed()
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
