//! Several logs as one, in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, Stream};

use super::LogLine;

/// Merges logs that are each in order. Holds one line of each.
pub(super) fn merge(logs: Vec<BoxStream<'_, LogLine>>) -> impl Stream<Item = LogLine> + '_ {
    stream::unfold(State::Start(logs), |state| async move {
        let mut merge = match state {
            State::Start(logs) => Merge::start(logs).await,
            State::Running(merge) => merge,
        };
        let Reverse(Head { line, index, .. }) = merge.heads.pop()?;
        merge.pull(index).await;
        Some((line, State::Running(merge)))
    })
}

enum State<'l> {
    Start(Vec<BoxStream<'l, LogLine>>),
    Running(Merge<'l>),
}

struct Merge<'l> {
    logs: Vec<BoxStream<'l, LogLine>>,
    heads: BinaryHeap<Reverse<Head>>,
}

impl<'l> Merge<'l> {
    async fn start(logs: Vec<BoxStream<'l, LogLine>>) -> Self {
        let mut merge = Self {
            heads: BinaryHeap::with_capacity(logs.len()),
            logs,
        };
        for index in 0..merge.logs.len() {
            merge.pull(index).await;
        }
        merge
    }

    async fn pull(&mut self, index: usize) {
        if let Some(line) = self.logs[index].next().await {
            self.heads.push(Reverse(Head { line, index }));
        }
    }
}

/// The next line of a log.
struct Head {
    line: LogLine,
    index: usize,
}

impl Head {
    fn key(&self) -> (k8s_openapi::jiff::Timestamp, usize) {
        (self.line.time, self.index)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::logs::Source;

    fn log(pod: &str, times: &[i64]) -> Vec<LogLine> {
        times
            .iter()
            .enumerate()
            .map(|(number, &second)| LogLine {
                source: Source {
                    service: "web".parse().unwrap(),
                    pod: pod.into(),
                    container: "web".into(),
                },
                time: Timestamp::from_second(second).unwrap(),
                text: format!("{pod}{number}"),
            })
            .collect()
    }

    fn merged(logs: Vec<Vec<LogLine>>) -> Vec<LogLine> {
        let logs = logs
            .into_iter()
            .map(|log| stream::iter(log).boxed())
            .collect();
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(merge(logs).collect())
    }

    #[test]
    fn lines_come_in_the_order_of_time() {
        let lines = merged(vec![log("a", &[1, 4, 5]), log("b", &[2, 4]), log("c", &[])]);
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["a0", "b0", "a1", "b1", "a2"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_every_log_keeps_its_order(
            mut times in prop::collection::vec(prop::collection::vec(0i64..20, 0..12), 0..5)
        ) {
            for log in &mut times {
                log.sort_unstable();
            }
            let names = ["a", "b", "c", "d", "e"];
            let logs: Vec<Vec<LogLine>> =
                times.iter().zip(names).map(|(times, name)| log(name, times)).collect();
            let lines = merged(logs.clone());
            prop_assert!(lines.is_sorted_by_key(|line| line.time));
            for (name, log) in names.iter().zip(logs) {
                let own: Vec<LogLine> =
                    lines.iter().filter(|line| line.source.pod == *name).cloned().collect();
                prop_assert_eq!(own, log);
            }
        }
    }
}
