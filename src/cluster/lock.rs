//! One run at a time: a Lease in the stack's namespace, renewed while the run lasts.
//!
//! Whether a holder is gone is judged by renewals that this process sees, not by clocks of other
//! machines: a lease that does not change for its whole duration is free. A holder that ran on this very
//! machine and is no more is recognised at once, so that a killed run does not make the next one wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, EventSink};
use crate::stack::{EnvName, Namespace, Stack, StackName};

use super::inventory::{INSTANCE, MANAGED_BY, PART_OF, STACKCTL, lease_name};
use super::lock_error::LockError;
use super::process;
use super::retry::{CallError, idempotent, is_transient, once};
use super::status::plain;

/// Annotation with the mark of the process that holds the lease.
const PROCESS: &str = "stackctl.dev/process";
/// How often a waiting run looks, and how soon a failed renewal is tried again.
const LOOK: Duration = Duration::from_secs(2);

/// How to take the lock.
#[derive(Clone, Debug)]
pub struct LockOptions {
    /// The stack.
    pub stack: StackName,
    /// The environment, for its label.
    pub environment: EnvName,
    /// Where the lease lives; must exist.
    pub namespace: Namespace,
    /// How long a lease lasts without renewal.
    pub duration: Duration,
    /// How often it is renewed.
    pub renew_every: Duration,
    /// How long to wait for another run; `None`: as long as it takes.
    pub wait: Option<Duration>,
}

/// The lock, held until it is released or dropped.
#[derive(Debug)]
pub struct Lock {
    api: Api<Lease>,
    shared: Arc<Shared>,
    renewal: JoinHandle<()>,
}

impl LockOptions {
    /// A lease of 60 seconds, renewed every 15.
    #[must_use]
    pub fn of(stack: &Stack) -> Self {
        Self {
            stack: stack.name.clone(),
            environment: stack.environment.name.clone(),
            namespace: stack.environment.namespace.clone(),
            duration: Duration::from_secs(60),
            renew_every: Duration::from_secs(15),
            wait: None,
        }
    }
}

impl Lock {
    /// Cancelled when the lock is lost; [`Lock::check`] then says why.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.shared.lost.clone()
    }

    /// Whether the lock is still held.
    pub fn check(&self) -> Result<(), LockError> {
        match &*self.shared.state() {
            State::Held { .. } => Ok(()),
            State::Lost(error) => Err(error.clone()),
        }
    }

    /// Deletes the lease, so that a waiting run goes on at once. A lock that is lost is left alone.
    pub async fn release(self) {
        self.renewal.abort();
        // From here on there is nothing left for `drop` to do.
        let state = std::mem::replace(&mut *self.shared.state(), State::Lost(LockError::Deleted));
        if let State::Held { lease, .. } = state {
            give_up(&self.api, &lease).await;
        }
    }
}

/// A lock that is dropped without [`Lock::release`] is given up in the background, as far as there is
/// still a runtime to do so; else the lease ends by itself.
impl Drop for Lock {
    fn drop(&mut self) {
        self.renewal.abort();
        let State::Held { lease, .. } = self.shared.state().clone() else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let api = self.api.clone();
            runtime.spawn(async move { give_up(&api, &lease).await });
        }
    }
}

#[derive(Debug)]
struct Shared {
    lost: CancellationToken,
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
enum State {
    /// The lease as last written by this process.
    Held {
        lease: Box<Lease>,
        renewed: Instant,
    },
    Lost(LockError),
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, error: LockError) {
        *self.state() = State::Lost(error);
        self.lost.cancel();
    }
}

/// Takes the lock, waiting for whoever has it.
pub async fn acquire(
    client: &Client,
    options: LockOptions,
    events: &dyn EventSink,
    cancel: &CancellationToken,
) -> Result<Lock, LockError> {
    let api = Api::namespaced(client.clone(), options.namespace.as_str());
    let attempt = Attempt {
        api: api.clone(),
        holder: format!("{} {}", process::own_name(), uuid::Uuid::new_v4()),
        name: lease_name(&options.stack),
        options,
    };
    let lease = attempt.acquire(events, cancel).await?;
    let shared = Arc::new(Shared {
        lost: CancellationToken::new(),
        state: Mutex::new(State::Held {
            lease: Box::new(lease),
            renewed: Instant::now(),
        }),
    });
    let renewal = tokio::spawn(renew(attempt, Arc::clone(&shared)));
    Ok(Lock {
        api,
        shared,
        renewal,
    })
}

struct Attempt {
    api: Api<Lease>,
    holder: String,
    name: String,
    options: LockOptions,
}

/// A lease of someone else, and since when it has not changed.
struct Seen {
    lease: Lease,
    since: Instant,
}

/// What a look at the lease came to.
enum Look {
    Ours(Box<Lease>),
    Theirs(Box<Lease>),
}

impl Attempt {
    async fn acquire(
        &self,
        events: &dyn EventSink,
        cancel: &CancellationToken,
    ) -> Result<Lease, LockError> {
        let started = Instant::now();
        let mut seen: Option<Seen> = None;
        loop {
            let lease = match self.look(seen.as_ref()).await? {
                Look::Ours(lease) => return Ok(*lease),
                Look::Theirs(lease) => *lease,
            };
            let holder = holder_of(&lease);
            match &seen {
                Some(last)
                    if last.lease.metadata.resource_version == lease.metadata.resource_version => {}
                Some(last) if holder_of(&last.lease) == holder => {
                    seen = Some(Seen {
                        lease,
                        since: Instant::now(),
                    });
                }
                _ => {
                    events.emit(Event::Note(waiting_for(&lease)));
                    seen = Some(Seen {
                        lease,
                        since: Instant::now(),
                    });
                }
            }
            let waited = started.elapsed();
            if self.options.wait.is_some_and(|limit| waited >= limit) {
                return Err(LockError::Held { holder, waited });
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = cancel.cancelled() => return Err(LockError::Interrupted { holder }),
            }
        }
    }

    /// Takes the lease if it is free.
    async fn look(&self, seen: Option<&Seen>) -> Result<Look, LockError> {
        let mut lost_answers = 0;
        loop {
            let current = idempotent(|| self.api.get_opt(&self.name))
                .await
                .map_err(|error| self.failed(error))?;
            let written = match current {
                None => once(self.api.create(&PostParams::default(), &self.lease(None))).await,
                Some(lease) if is_free(&lease, seen) || holder_of(&lease) == self.holder => {
                    let taken = self.lease(Some(&lease));
                    once(self.api.replace(&self.name, &PostParams::default(), &taken)).await
                }
                Some(lease) => return Ok(Look::Theirs(Box::new(lease))),
            };
            match written {
                Ok(lease) => return Ok(Look::Ours(Box::new(lease))),
                // Another run was quicker: look again.
                Err(CallError::Client(kube::Error::Api(status))) if status.code == 409 => {}
                // The answer got lost; the write may have been done.
                Err(CallError::Client(error)) if is_transient(&error) && lost_answers < 3 => {
                    lost_answers += 1;
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn failed(&self, error: CallError) -> LockError {
        if let CallError::Client(kube::Error::Api(status)) = &error
            && status.code == 404
        {
            return LockError::NoNamespace(self.options.namespace.clone());
        }
        LockError::Failed {
            name: self.name.clone(),
            reason: describe(&error),
        }
    }

    /// The lease with this process as its holder; takes the place of `previous`.
    fn lease(&self, previous: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut metadata =
            previous.map_or_else(ObjectMeta::default, |lease| lease.metadata.clone());
        metadata.managed_fields = None;
        metadata.name = Some(self.name.clone());
        metadata.labels = Some(self.labels());
        metadata.annotations = process::own_mark().map(|mark| [(PROCESS.to_owned(), mark)].into());
        let transitions = previous
            .and_then(|lease| lease.spec.as_ref()?.lease_transitions)
            .map_or(0, |transitions| transitions.saturating_add(1));
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                holder_identity: Some(self.holder.clone()),
                lease_duration_seconds: Some(
                    i32::try_from(self.options.duration.as_secs()).unwrap_or(60),
                ),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        [
            (PART_OF, self.options.stack.as_str()),
            (INSTANCE, self.options.environment.as_str()),
            (MANAGED_BY, STACKCTL),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// Others may take the lease when its time is up; this process lets go a little earlier.
    fn patience(&self) -> Duration {
        self.options.duration - self.options.duration / 6
    }
}

/// Renews the lease until it is lost.
async fn renew(attempt: Attempt, shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(attempt.options.renew_every).await;
        if let Err(error) = renew_once(&attempt, &shared).await {
            shared.lose(error);
            return;
        }
    }
}

/// One renewal, tried until it succeeds or the lease is nearly over.
async fn renew_once(attempt: &Attempt, shared: &Shared) -> Result<(), LockError> {
    loop {
        let (mut lease, renewed) = match &*shared.state() {
            State::Held { lease, renewed } => (lease.clone(), *renewed),
            State::Lost(error) => return Err(error.clone()),
        };
        if let Some(spec) = &mut lease.spec {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        let deadline = renewed + attempt.patience();
        let parameters = PostParams::default();
        let write = attempt.api.replace(&attempt.name, &parameters, &lease);
        let sent = Instant::now();
        let reason = match tokio::time::timeout_at(deadline, write).await {
            Ok(Ok(lease)) => {
                *shared.state() = State::Held {
                    lease: Box::new(lease),
                    renewed: sent,
                };
                return Ok(());
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                adopt(attempt, shared, renewed).await?;
                continue;
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                return Err(LockError::Deleted);
            }
            Ok(Err(error)) => plain(&error),
            Err(_) => "the cluster does not answer".to_owned(),
        };
        if Instant::now() + LOOK >= deadline {
            let since = renewed.elapsed();
            return Err(LockError::NotRenewed { since, reason });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// After a conflict: goes on from the lease as it is, if it still names this process.
async fn adopt(attempt: &Attempt, shared: &Shared, renewed: Instant) -> Result<(), LockError> {
    match once(attempt.api.get_opt(&attempt.name)).await {
        Ok(Some(lease)) if holder_of(&lease) == attempt.holder => {
            *shared.state() = State::Held {
                lease: Box::new(lease),
                renewed,
            };
            Ok(())
        }
        Ok(Some(lease)) => Err(LockError::TakenOver {
            by: holder_of(&lease),
        }),
        Ok(None) => Err(LockError::Deleted),
        Err(error) => {
            tracing::debug!(error = describe(&error), "the lease cannot be read");
            tokio::time::sleep(LOOK).await;
            Ok(())
        }
    }
}

/// Deletes the lease, unless it is another's by now.
async fn give_up(api: &Api<Lease>, lease: &Lease) {
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    let outcome = match delete(api, name, lease).await {
        // A renewal may have been on its way.
        Err(CallError::Client(kube::Error::Api(status))) if status.code == 409 => {
            match once(api.get_opt(name)).await {
                Ok(Some(current)) if holder_of(&current) == holder_of(lease) => {
                    delete(api, name, &current).await
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            }
        }
        outcome => outcome,
    };
    if let Err(error) = outcome {
        tracing::debug!(error = describe(&error), "the lease ends by itself");
    }
}

async fn delete(api: &Api<Lease>, name: &str, lease: &Lease) -> Result<(), CallError> {
    let parameters = DeleteParams::default().preconditions(Preconditions {
        uid: lease.metadata.uid.clone(),
        resource_version: lease.metadata.resource_version.clone(),
    });
    once(api.delete(name, &parameters)).await.map(drop)
}

fn is_free(lease: &Lease, seen: Option<&Seen>) -> bool {
    let holder = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref());
    if holder.unwrap_or_default().is_empty() {
        return true;
    }
    let mark = lease
        .metadata
        .annotations
        .as_ref()
        .and_then(|found| found.get(PROCESS));
    if mark.is_some_and(|mark| process::is_gone(mark)) {
        return true;
    }
    seen.is_some_and(|seen| {
        seen.lease.metadata.resource_version == lease.metadata.resource_version
            && seen.since.elapsed() >= duration_of(lease)
    })
}

fn duration_of(lease: &Lease) -> Duration {
    let seconds = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_duration_seconds);
    Duration::from_secs(
        seconds
            .and_then(|seconds| seconds.try_into().ok())
            .unwrap_or(60),
    )
}

fn holder_of(lease: &Lease) -> String {
    lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.clone())
        .unwrap_or_default()
}

fn waiting_for(lease: &Lease) -> String {
    let holder = holder_of(lease);
    // The random end of the identity is of no use to people.
    let holder = holder
        .rsplit_once(' ')
        .map_or(holder.as_str(), |(name, _)| name);
    format!(
        "waiting for the lock held by {holder}, expires in {} s unless it is renewed",
        duration_of(lease).as_secs()
    )
}

fn describe(error: &CallError) -> String {
    match error {
        CallError::Client(error) => plain(error),
        CallError::TimedOut(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
