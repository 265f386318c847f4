//! One live picture of a stack's namespace, shared by all that wait for something in it.

mod clock;
mod error;
#[cfg(test)]
pub(super) mod fake;
mod kind;
mod store;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::runtime::watcher::{self, watcher};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::clock::Clock;
pub use self::error::WatchError;
use self::kind::{KINDS, Kind};
use self::store::{Failure, Store};
use crate::diagnosis::Observed;
use crate::diagnostic::Diagnostic;
use crate::event::{Event, EventSink};

/// Between attempts to reconnect, the last one for ever: a person is waiting.
const BACKOFF: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// How long a connection may be gone before a wait gives up.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(60);

/// Watches the workloads, ReplicaSets, Pods, claims and events of a namespace until it is dropped.
pub struct Watch {
    shared: Arc<Shared>,
    changes: watch::Receiver<()>,
    warned: AtomicBool,
    /// Aborted when they are dropped.
    _tasks: JoinSet<()>,
}

struct Shared {
    store: Mutex<Store>,
    changed: watch::Sender<()>,
    clock: Clock,
    namespace: String,
}

impl Watch {
    /// Begins to watch. `selector` picks the stack's objects by their labels, such as
    /// `app.kubernetes.io/part-of=shop`. Returns as soon as the cluster's time is known (3 s at most);
    /// failures show when something waits.
    pub async fn start(client: &kube::Client, namespace: &str, selector: &str) -> Self {
        let (changed, changes) = watch::channel(());
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            changed,
            clock: Clock::of(client).await,
            namespace: namespace.to_owned(),
        });
        let mut tasks = JoinSet::new();
        for kind in &KINDS {
            let api = kind.api(client, namespace);
            let mut config = watcher::Config::default();
            if kind.labelled {
                config = config.labels(selector);
            }
            tasks.spawn(follow(Arc::clone(&shared), kind, api, config));
        }
        Self {
            shared,
            changes,
            warned: AtomicBool::new(false),
            _tasks: tasks,
        }
    }

    /// The cluster's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.shared.namespace
    }

    /// What has been seen so far.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let now = self.now();
        self.shared.store().observed(now)
    }

    /// Wakes with every change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.clone()
    }

    /// Whether every kind has been listed.
    pub(super) fn is_complete(&self) -> bool {
        self.shared.store().is_complete()
    }

    /// An error where a kind that a wait for `workload` needs may not be read.
    pub(super) fn check(&self, workload: &str) -> Result<(), WatchError> {
        let store = self.shared.store();
        let needed = KINDS.iter().filter(|kind| {
            kind.kind == workload
                || kind.kind == "Pod"
                || (kind.kind == "ReplicaSet" && workload == "Deployment")
        });
        for kind in needed {
            if let Some(source) = store.refusal(kind.kind) {
                return Err(forbidden(kind, &self.shared.namespace, Arc::clone(source)));
            }
        }
        Ok(())
    }

    /// Since when nothing is heard of a kind, and why.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.shared.store().failure()
    }

    /// What cannot be told because of missing rights; once, however many wait.
    pub(super) fn take_warnings(&self) -> Vec<Diagnostic> {
        let store = self.shared.store();
        if !store.is_complete() || self.warned.swap(true, Ordering::Relaxed) {
            return Vec::new();
        }
        KINDS
            .iter()
            .filter(|kind| store.refusal(kind.kind).is_some())
            .filter_map(|kind| {
                Some(error::blind(
                    kind.plural,
                    &self.shared.namespace,
                    kind.tells?,
                ))
            })
            .collect()
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, kind: &'static Kind, event: watcher::Event<DynamicObject>) {
        let now = self.clock.now();
        if self.store().apply(kind, event, now) {
            self.notify();
        }
    }

    fn notify(&self) {
        self.changed.send_replace(());
    }
}

impl Failure {
    /// The error of a wait that gives up, once it has lasted long enough.
    pub(super) fn lost(&self) -> Option<WatchError> {
        let after = self.since.elapsed();
        (after >= LOST_AFTER).then(|| WatchError::Lost {
            after,
            source: Arc::clone(&self.last),
        })
    }

    /// When a wait gives up.
    pub(super) fn lost_at(&self) -> Instant {
        self.since + LOST_AFTER
    }
}

impl Kind {
    fn api(&self, client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &self.resource())
    }
}

/// The API of a kind of workload.
pub(super) fn workload_api(
    client: &kube::Client,
    namespace: &str,
    kind: &str,
) -> Result<Api<DynamicObject>, WatchError> {
    match Kind::named(kind) {
        Some(known) => Ok(known.api(client, namespace)),
        None => Err(WatchError::NotWatched {
            kind: kind.to_owned(),
        }),
    }
}

/// Looks once. Kinds that may not be read are left out, with a warning where they would tell a cause; for
/// pods and workloads that is an error.
pub async fn snapshot_once(
    client: &kube::Client,
    namespace: &str,
    selector: &str,
    events: &dyn EventSink,
) -> Result<Observed, WatchError> {
    let clock = Clock::of(client).await;
    let lists = KINDS.iter().map(|kind| async move {
        let params = if kind.labelled {
            ListParams::default().labels(selector)
        } else {
            ListParams::default()
        };
        (kind, kind.api(client, namespace).list(&params).await)
    });
    let mut observed = Store::default().observed(clock.now());
    for (kind, list) in join_all(lists).await {
        match list.map_err(watcher::Error::InitialListFailed) {
            Ok(list) => {
                let values = list
                    .items
                    .into_iter()
                    .filter_map(|object| store::value(kind, object));
                let into = match kind.kind {
                    "Event" => &mut observed.events,
                    _ => &mut observed.objects,
                };
                into.extend(values.map(|(_, value)| value));
            }
            Err(refusal) if error::is_refusal(&refusal) => match kind.tells {
                Some(tells) => {
                    events.emit(Event::Warning(error::blind(kind.plural, namespace, tells)))
                }
                None => return Err(forbidden(kind, namespace, Arc::new(refusal))),
            },
            Err(failure) => {
                return Err(WatchError::Lost {
                    after: Duration::ZERO,
                    source: Arc::new(failure),
                });
            }
        }
    }
    observed.now = clock.now();
    Ok(observed)
}

fn forbidden(kind: &Kind, namespace: &str, source: Arc<watcher::Error>) -> WatchError {
    WatchError::Forbidden {
        plural: kind.plural,
        namespace: namespace.to_owned(),
        source,
    }
}

/// Keeps one kind up to date; ends only when it is refused.
async fn follow(
    shared: Arc<Shared>,
    kind: &'static Kind,
    api: Api<DynamicObject>,
    config: watcher::Config,
) {
    let mut attempts = 0;
    loop {
        // A watcher that resumes after a failure says nothing until something changes; a new one lists, which
        // shows that the connection is back.
        let mut stream = pin!(watcher(api.clone(), config.clone()));
        let failure = loop {
            match stream.next().await {
                Some(Ok(event)) => {
                    if matches!(event, watcher::Event::InitDone) {
                        attempts = 0;
                    }
                    shared.apply(kind, event);
                }
                Some(Err(gone)) if error::is_gone(&gone) => {}
                Some(Err(failure)) => break failure,
                // It never ends by itself.
                None => return,
            }
        };
        if error::is_refusal(&failure) {
            shared.store().refuse(kind, failure);
            shared.notify();
            return;
        }
        shared.store().failed(kind, failure);
        shared.notify();
        tokio::time::sleep(BACKOFF[attempts.min(BACKOFF.len() - 1)]).await;
        attempts += 1;
    }
}
