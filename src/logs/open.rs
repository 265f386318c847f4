//! Opens the logs that a query asks for.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ListParams, LogParams};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::follow::follow;
use super::line::{read_line, stamp};
use super::merge::merge;
use super::select::{Run, runs, selector};
use super::{LogEvent, LogItem, LogLine};
use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::stack::{Namespace, ServiceName, StackName};

/// The pods cannot be listed.
const CANNOT_LIST: Code = Code::new("S1011");
/// No pod has lines to show.
const NO_LOGS: Code = Code::new("S1012");

/// Lines that wait to be taken; a slow reader slows the containers' streams down, not this program's
/// memory up.
const WAITING_LINES: usize = 1024;

/// Which lines are wanted.
#[derive(Clone, Debug)]
pub struct LogQuery {
    /// Where the pods are.
    pub namespace: Namespace,
    /// The stack they are part of.
    pub stack: StackName,
    /// Empty: all of them.
    pub services: Vec<ServiceName>,
    /// Only containers of this name.
    pub container: Option<String>,
    /// Whether to go on with lines, and pods, to come.
    pub follow: bool,
    /// Not more than this many of the last lines of each container.
    pub tail: Option<u32>,
    /// Not older than this.
    pub since: Option<Duration>,
    /// The lines of the containers' previous runs; nothing is followed then.
    pub previous: bool,
}

/// Lines and news as they come; ends after the last line where nothing is followed. Dropping it ends
/// all streams.
pub struct LogStream {
    items: mpsc::Receiver<LogItem>,
    _tasks: JoinSet<()>,
}

impl LogStream {
    /// The next item.
    pub async fn next(&mut self) -> Option<LogItem> {
        self.items.recv().await
    }
}

/// Why there are no lines.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The cluster does not list the pods.
    #[error("cannot list the pods in namespace `{namespace}`")]
    List {
        /// The namespace.
        namespace: Namespace,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// There is nothing to show now, and nothing to wait for.
    #[error("{what} in namespace `{namespace}` has {}", lines(.previous))]
    Nothing {
        /// What was asked for.
        what: String,
        /// The namespace.
        namespace: Namespace,
        /// Whether previous runs were asked for.
        previous: bool,
    },
}

fn lines(previous: &bool) -> &'static str {
    if *previous {
        "no container that ran before"
    } else {
        "no container that has started"
    }
}

impl Explain for LogError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let problem = match self {
            Self::List { source, .. } => {
                Diagnostic::error(CANNOT_LIST, self.to_string()).caused_by(source.as_ref())
            }
            Self::Nothing { previous, .. } => {
                Diagnostic::error(NO_LOGS, self.to_string()).hint(if *previous {
                    "without --previous you see the runs of now"
                } else {
                    "`stackctl status` shows what is there"
                })
            }
        };
        vec![problem]
    }
}

/// Lists the pods and starts reading.
pub async fn open(client: kube::Client, query: LogQuery) -> Result<LogStream, LogError> {
    let api: Api<Pod> = Api::namespaced(client, query.namespace.as_str());
    let (sender, items) = mpsc::channel(WAITING_LINES);
    let mut tasks = JoinSet::new();
    // Also before following, so that a refusal is told and not waited out.
    let found = list(&api, &query).await?;
    if query.follow && !query.previous {
        tasks.spawn(follow(api, query, sender));
    } else if found.is_empty() {
        return Err(nothing(query));
    } else {
        tasks.spawn(read(api, query, found, sender));
    }
    Ok(LogStream {
        items,
        _tasks: tasks,
    })
}

async fn list(api: &Api<Pod>, query: &LogQuery) -> Result<Vec<Run>, LogError> {
    let labels = selector(&query.stack, &query.services);
    let pods = api
        .list(&ListParams::default().labels(&labels))
        .await
        .map_err(|source| LogError::List {
            namespace: query.namespace.clone(),
            source: Box::new(source),
        })?;
    Ok(pods
        .items
        .iter()
        .flat_map(|pod| runs(pod, query.container.as_deref(), query.previous))
        .collect())
}

fn nothing(query: LogQuery) -> LogError {
    LogError::Nothing {
        what: match &query.services[..] {
            [] => format!("stack `{}`", query.stack),
            many => {
                let names: Vec<String> = many.iter().map(|name| format!("`{name}`")).collect();
                format!("service {}", names.join(" and "))
            }
        },
        namespace: query.namespace,
        previous: query.previous,
    }
}

/// Sends the lines of `found` in the order of time.
async fn read(api: Api<Pod>, query: LogQuery, found: Vec<Run>, items: mpsc::Sender<LogItem>) {
    let logs = found
        .into_iter()
        .map(|run| lines_of(&api, run, params(&query), items.clone()))
        .collect();
    let mut lines = std::pin::pin!(merge(logs));
    while let Some(line) = lines.next().await {
        if items.send(LogItem::Line(line)).await.is_err() {
            return;
        }
    }
}

/// What the API server is asked for at first.
pub(super) fn params(query: &LogQuery) -> LogParams {
    LogParams {
        previous: query.previous,
        tail_lines: query.tail.map(i64::from),
        since_time: query.since.and_then(|since| {
            let since = k8s_openapi::jiff::SignedDuration::try_from(since).ok()?;
            Timestamp::now().checked_sub(since).ok()
        }),
        timestamps: true,
        ..LogParams::default()
    }
}

fn lines_of(
    api: &Api<Pod>,
    run: Run,
    mut params: LogParams,
    items: mpsc::Sender<LogItem>,
) -> BoxStream<'_, LogLine> {
    params.container = Some(run.source.container.clone());
    let open = async move {
        match api.log_stream(&run.source.pod, &params).await {
            Ok(reader) => lines_from(Box::pin(reader), run).boxed(),
            Err(error) => {
                let event = LogEvent::Unavailable(run.source, error.to_string());
                let _ = items.send(LogItem::Event(event)).await;
                stream::empty().boxed()
            }
        }
    };
    stream::once(open).flatten().boxed()
}

fn lines_from(
    reader: impl futures_util::AsyncBufRead + Unpin + Send,
    run: Run,
) -> impl stream::Stream<Item = LogLine> + Send {
    stream::unfold(
        (reader, None, run),
        |(mut reader, before, run)| async move {
            // What came before a broken stream was shown; there is no more.
            let line = read_line(&mut reader).await.ok().flatten()?;
            let (time, text) = stamp(line, before);
            let source = run.source.clone();
            Some((LogLine { source, time, text }, (reader, Some(time), run)))
        },
    )
}

#[cfg(test)]
mod tests;
