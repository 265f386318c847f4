//! Follows containers, those of now and those to come.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::line::{Position, read_line};
use super::open::{LogQuery, params};
use super::select::{Run, RunState, runs, selector, state};
use super::{LogEvent, LogItem, LogLine};

/// The API server hears of a container's end about a second after its log ended.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Sends what all containers of the query write until nobody takes it any more.
pub(super) async fn follow(api: Api<Pod>, query: LogQuery, items: mpsc::Sender<LogItem>) {
    let labels = selector(&query.stack, &query.services);
    let watched = watcher(api.clone(), watcher::Config::default().labels(&labels));
    let mut events = std::pin::pin!(watched.default_backoff());
    let mut followers = Followers {
        api,
        query,
        items: items.clone(),
        started: BTreeSet::new(),
        at_first: true,
        tasks: JoinSet::new(),
    };
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => followers.see(event),
                Some(Err(error)) => tracing::debug!(%error, "the watch of pods failed"),
                None => return,
            },
            Some(_) = followers.tasks.join_next() => {}
            () = items.closed() => return,
        }
    }
}

struct Followers {
    api: Api<Pod>,
    query: LogQuery,
    items: mpsc::Sender<LogItem>,
    started: BTreeSet<Run>,
    /// Until the first list is complete: only its containers are cut to the last lines.
    at_first: bool,
    tasks: JoinSet<()>,
}

impl Followers {
    fn see(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => self.start(&pod),
            watcher::Event::Delete(pod) => {
                let name = pod.metadata.name.as_deref();
                self.started
                    .retain(|run| Some(run.source.pod.as_str()) != name);
            }
            watcher::Event::Init => {}
            watcher::Event::InitDone => self.at_first = false,
        }
    }

    fn start(&mut self, pod: &Pod) {
        for run in runs(pod, self.query.container.as_deref(), false) {
            if !self.started.insert(run.clone()) {
                continue;
            }
            let mut params = params(&self.query);
            if !self.at_first {
                params.tail_lines = None;
                params.since_time = None;
            }
            params.container = Some(run.source.container.clone());
            let follower = Follower {
                api: self.api.clone(),
                run,
                params,
                items: self.items.clone(),
                position: Position::default(),
            };
            self.tasks.spawn(async move {
                // Err: nobody takes the lines, and `follow` ends too.
                let _ = follower.run().await;
            });
        }
    }
}

/// Nobody takes the items any more.
struct Unwanted;

struct Follower {
    api: Api<Pod>,
    run: Run,
    params: LogParams,
    items: mpsc::Sender<LogItem>,
    position: Position,
}

impl Follower {
    async fn run(mut self) -> Result<(), Unwanted> {
        self.tell(LogEvent::Attached(self.run.source.clone()))
            .await?;
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.position.since();
            if let Err(error) = self.read(true, false).await? {
                match &error {
                    kube::Error::Api(status) if status.is_forbidden() => {
                        let source = self.run.source.clone();
                        return self
                            .tell(LogEvent::Unavailable(source, error.to_string()))
                            .await;
                    }
                    _ => tracing::debug!(%error, source = ?self.run.source, "no log"),
                }
            }
            if self.position.since() != before {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let exit = match self.state().await {
                Some(RunState::Running) | None => continue,
                // The stream may have broken before the end: the rest.
                Some(RunState::Ended(exit)) => {
                    let _ = self.read(false, false).await?;
                    exit
                }
                Some(RunState::Replaced(exit)) => {
                    let _ = self.read(false, true).await?;
                    exit
                }
                Some(RunState::Gone) => None,
            };
            let source = self.run.source.clone();
            return self.tell(LogEvent::Detached(source, exit)).await;
        }
    }

    /// Sends the lines of one response that are new.
    async fn read(
        &mut self,
        follow: bool,
        previous: bool,
    ) -> Result<Result<(), kube::Error>, Unwanted> {
        let mut params = self.params.clone();
        params.follow = follow;
        params.previous = previous;
        if let Some(since) = self.position.since() {
            params.since_time = Some(since);
            params.tail_lines = None;
        }
        let opened = self.api.log_stream(&self.run.source.pod, &params).await;
        let mut reader = match opened {
            Ok(reader) => Box::pin(reader),
            Err(error) => return Ok(Err(error)),
        };
        let mut cutter = self.position.cutter();
        // A broken stream is an ended one: what is missing is asked for again.
        while let Ok(Some(line)) = read_line(&mut reader).await {
            let Some((time, text)) = cutter.cut(line) else {
                continue;
            };
            let source = self.run.source.clone();
            let line = LogItem::Line(LogLine { source, time, text });
            self.items.send(line).await.map_err(|_| Unwanted)?;
        }
        Ok(Ok(()))
    }

    /// Nothing where the API server does not answer.
    async fn state(&self) -> Option<RunState> {
        match self.api.get_opt(&self.run.source.pod).await {
            Ok(Some(pod)) => Some(state(&pod, &self.run)),
            Ok(None) => Some(RunState::Gone),
            Err(error) => {
                tracing::debug!(%error, "the pod could not be read");
                None
            }
        }
    }

    async fn tell(&self, event: LogEvent) -> Result<(), Unwanted> {
        let item = LogItem::Event(event);
        self.items.send(item).await.map_err(|_| Unwanted)
    }
}
