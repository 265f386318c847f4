//! Applies what was planned, service by service: each as soon as those it needs are ready.
//!
//! Server-side apply can be done twice without harm, so a run that was killed is continued by the next
//! one; no journal is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use k8s_model::ObjectRef;
use kube::api::PropagationPolicy;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::{ApplyOptions, Lock, LockError, Objects};
use crate::diagnostic::Explain;
use crate::event::{EventSink, Phase, TaskOutcome};
use crate::manifest::Object;
use crate::stack::ServiceName;

use super::delete::wait_until_gone;
use super::failure::first_message;
use super::phase::PhaseReport;

pub use super::failure::{ApplyError, Failure};

/// Steps that wait for ready services go on for this long after another has failed, so that failures of
/// one cause are reported together.
const GRACE: Duration = Duration::from_secs(2);
/// How long an object that is replaced may take to go.
const REPLACE_DEADLINE: Duration = Duration::from_secs(120);

/// The objects of one service, or of the stack as a whole.
#[derive(Clone, Debug)]
pub struct Step {
    /// The service; none for objects of the stack as a whole (Namespace, CustomResourceDefinitions),
    /// which come before all services.
    pub name: Option<ServiceName>,
    /// Services that must be ready before; those without a step of their own count as ready.
    pub needs: Vec<ServiceName>,
    /// What workloads use: applied first, all at once.
    pub config: Vec<Write>,
    /// What runs pods: applied when `config` is there, then waited for.
    pub workloads: Vec<Write>,
}

/// An object and what is to be done with it.
#[derive(Clone, Debug)]
pub struct Write {
    /// The object as it is sent, values of secrets included.
    pub object: Object,
    /// What to do.
    pub action: Action,
}

/// What is done with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Server-side apply.
    Apply,
    /// Deleted, if it is still the one with this UID, and applied anew.
    Replace {
        /// UID of the live object.
        uid: String,
    },
    /// It is as it should be.
    Keep,
}

/// What was done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Applied.
    Written,
    /// Deleted and made anew.
    Replaced,
    /// Left as it was.
    Unchanged,
}

/// Why a service is not ready.
pub type NotReady = Box<dyn Explain + Send + Sync>;

/// Waits for workloads.
pub trait Ready: Send + Sync {
    /// Ends when all workloads of the service are ready, or with the reason why they will not be. It may
    /// be dropped at any time.
    fn ready<'a>(
        &'a self,
        service: &'a ServiceName,
        workloads: &'a [ObjectRef],
    ) -> BoxFuture<'a, Result<(), NotReady>>;
}

/// What a run works with.
pub struct ApplyContext<'a> {
    /// The cluster's objects.
    pub objects: &'a Objects,
    /// Waits for workloads.
    pub ready: &'a dyn Ready,
    /// Where progress goes.
    pub events: &'a dyn EventSink,
    /// Ctrl-C.
    pub cancel: &'a CancellationToken,
    /// The lock; losing it ends the run.
    pub lock: Option<&'a Lock>,
    /// Take fields over from other managers.
    pub force: bool,
    /// How many objects are written at a time.
    pub concurrency: usize,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct ApplyReport {
    /// Every object that was dealt with, in the order in which that happened.
    pub applied: Vec<(ObjectRef, Applied)>,
    /// Every service that became ready, with the time it took from its last write on.
    pub ready: Vec<(ServiceName, Duration)>,
    /// The whole run.
    pub elapsed: Duration,
}

/// Runs all steps. Ends when every service is ready, or soon after the first failure: nothing new is
/// started then, and what is being written is finished.
///
/// # Panics
/// Where the needs have a cycle; those are refused when a stack is loaded.
pub async fn apply(steps: &[Step], context: &ApplyContext<'_>) -> Result<ApplyReport, ApplyError> {
    let started = Instant::now();
    let run = Run::new(context);
    let mut progress = Progress::new(steps);
    let mut running: FuturesUnordered<Pin<Box<dyn Future<Output = Outcome> + Send + '_>>> =
        FuturesUnordered::new();
    loop {
        if !run.is_stopping() {
            for step in progress.startable(steps) {
                running.push(Box::pin(run.step(&steps[step], step)));
            }
        }
        tokio::select! {
            biased;
            () = context.cancel.cancelled(), if !run.is_stopping() => {
                progress.interrupted = true;
                run.stop(Stop::Now);
            }
            error = lock_lost(context.lock), if !run.is_stopping() => {
                progress.failures.push(Failure::Lock(error));
                run.stop(Stop::Now);
            }
            outcome = running.next() => match outcome {
                Some(outcome) => progress.take(outcome, &run),
                None => break,
            },
        }
    }
    drop(running);
    run.finish(&progress.report);
    progress.end(steps, started)
}

/// Never ends while the lock is held.
async fn lock_lost(lock: Option<&Lock>) -> LockError {
    if let Some(lock) = lock {
        lock.lost().cancelled().await;
        if let Err(error) = lock.check() {
            return error;
        }
    }
    std::future::pending().await
}

/// How much is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    /// Nothing.
    No,
    /// Nothing new is started; waits end in a moment.
    Soon,
    /// Waits end at once.
    Now,
}

/// How a step ended.
struct Outcome {
    step: usize,
    applied: Vec<(ObjectRef, Applied)>,
    end: End,
}

enum End {
    /// Applied and ready after this time (none without workloads).
    Ready(Option<Duration>),
    Failed(Vec<Failure>),
    /// Stopped before its end.
    Stopped,
}

/// Where the run as a whole stands.
struct Progress {
    /// Steps that have not been started.
    pending: BTreeSet<usize>,
    names: BTreeMap<ServiceName, usize>,
    done: BTreeSet<usize>,
    failures: Vec<Failure>,
    interrupted: bool,
    report: ApplyReport,
    services: Vec<Option<ServiceName>>,
}

impl Progress {
    fn new(steps: &[Step]) -> Self {
        let named = |(index, step): (usize, &Step)| Some((step.name.clone()?, index));
        Self {
            pending: (0..steps.len()).collect(),
            names: steps.iter().enumerate().filter_map(named).collect(),
            done: BTreeSet::new(),
            failures: Vec::new(),
            interrupted: false,
            report: ApplyReport::default(),
            services: steps.iter().map(|step| step.name.clone()).collect(),
        }
    }

    /// Takes out the steps whose needs are done.
    fn startable(&mut self, steps: &[Step]) -> Vec<usize> {
        let of_the_stack = |index: &usize| steps[*index].name.is_none();
        let stack_done = (0..steps.len())
            .filter(of_the_stack)
            .all(|index| self.done.contains(&index));
        let is_done = |name: &ServiceName| {
            self.names
                .get(name)
                .is_none_or(|index| self.done.contains(index))
        };
        let ready: Vec<usize> = self
            .pending
            .iter()
            .copied()
            .filter(|index| of_the_stack(index) || stack_done)
            .filter(|index| steps[*index].needs.iter().all(is_done))
            .collect();
        for index in &ready {
            self.pending.remove(index);
        }
        ready
    }

    fn take(&mut self, outcome: Outcome, run: &Run<'_>) {
        self.report.applied.extend(outcome.applied);
        match outcome.end {
            End::Ready(time) => {
                self.done.insert(outcome.step);
                if let (Some(service), Some(time)) = (&self.services[outcome.step], time) {
                    self.report.ready.push((service.clone(), time));
                }
            }
            End::Failed(failures) => {
                self.failures.extend(failures);
                run.stop(Stop::Soon);
            }
            End::Stopped => {}
        }
    }

    fn end(mut self, steps: &[Step], started: Instant) -> Result<ApplyReport, ApplyError> {
        self.report.elapsed = started.elapsed();
        if self.done.len() == steps.len() {
            return Ok(self.report);
        }
        assert!(
            self.interrupted || !self.failures.is_empty(),
            "needs have no cycle: stacks with one are refused"
        );
        let failed: BTreeSet<&ServiceName> =
            self.failures.iter().filter_map(Failure::service).collect();
        let unfinished = (0..steps.len())
            .filter(|index| !self.done.contains(index))
            .filter_map(|index| steps[index].name.clone())
            .filter(|name| !failed.contains(name))
            .collect();
        Err(ApplyError {
            unfinished,
            interrupted: self.interrupted,
            report: self.report,
            failures: self.failures,
        })
    }
}

/// What all steps share.
struct Run<'a> {
    context: &'a ApplyContext<'a>,
    writes: Semaphore,
    stop: watch::Sender<Stop>,
    applying: PhaseReport<'a>,
    waiting: PhaseReport<'a>,
}

impl<'a> Run<'a> {
    fn new(context: &'a ApplyContext<'a>) -> Self {
        Self {
            context,
            writes: Semaphore::new(context.concurrency.max(1)),
            stop: watch::channel(Stop::No).0,
            applying: PhaseReport::new(Phase::Apply, context.events),
            waiting: PhaseReport::new(Phase::Ready, context.events),
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow() > Stop::No
    }

    fn stop(&self, how: Stop) {
        self.stop.send_if_modified(|current| {
            let more = how > *current;
            *current = how.max(*current);
            more
        });
    }

    async fn step(&self, step: &Step, index: usize) -> Outcome {
        let mut applied = Vec::new();
        for writes in [&step.config, &step.workloads] {
            let (mut failures, mut stopped) = (Vec::new(), false);
            let outcomes = join_all(writes.iter().map(|write| self.write(write, step))).await;
            for (write, outcome) in writes.iter().zip(outcomes) {
                match outcome {
                    Ok(Some(done)) => applied.push((write.object.reference(), done)),
                    Ok(None) => stopped = true,
                    Err(failure) => failures.push(failure),
                }
            }
            let end = match (failures.is_empty(), stopped) {
                (false, _) => End::Failed(failures),
                (true, true) => End::Stopped,
                (true, false) => continue,
            };
            return Outcome {
                step: index,
                applied,
                end,
            };
        }
        let end = self.wait(step).await;
        Outcome {
            step: index,
            applied,
            end,
        }
    }

    /// None where the run was stopped before.
    async fn write(&self, write: &Write, step: &Step) -> Result<Option<Applied>, Failure> {
        let task = write.object.reference().to_string();
        if write.action == Action::Keep {
            let begun = self.applying.begin(&task);
            self.applying.end(&task, begun, TaskOutcome::Unchanged, "");
            return Ok(Some(Applied::Unchanged));
        }
        let _permit = self
            .writes
            .acquire()
            .await
            .expect("the semaphore is never closed");
        if self.is_stopping() {
            return Ok(None);
        }
        let begun = self.applying.begin(&task);
        let outcome = self.send(write, step).await;
        match &outcome {
            Ok(_) => self.applying.end(&task, begun, TaskOutcome::Done, ""),
            Err(failure) => {
                // At once, so that writes of the same step that have not begun do not begin.
                self.stop(Stop::Soon);
                self.applying
                    .end(&task, begun, TaskOutcome::Failed, &failure.to_string())
            }
        };
        outcome.map(Some)
    }

    async fn send(&self, write: &Write, step: &Step) -> Result<Applied, Failure> {
        let object_failure = |error| Failure::Object {
            service: step.name.clone(),
            origins: write.object.origins.clone(),
            error,
        };
        let objects = self.context.objects;
        let mut done = Applied::Written;
        if let Action::Replace { uid } = &write.action {
            let reference = write.object.reference();
            objects
                .delete(&reference, Some(uid), PropagationPolicy::Foreground)
                .await
                .map_err(object_failure)?;
            let deadline = Instant::now() + REPLACE_DEADLINE;
            wait_until_gone(objects, &reference, uid, deadline)
                .await
                .map_err(object_failure)?
                .map_err(|finalizers| Failure::NotGone {
                    object: reference,
                    finalizers,
                })?;
            done = Applied::Replaced;
        }
        let options = ApplyOptions {
            dry_run: false,
            force: self.context.force,
        };
        objects
            .apply(&write.object.value, options)
            .await
            .map_err(object_failure)?;
        Ok(done)
    }

    async fn wait(&self, step: &Step) -> End {
        let Some(service) = &step.name else {
            return End::Ready(None);
        };
        if step.workloads.is_empty() {
            return End::Ready(None);
        }
        if self.is_stopping() {
            return End::Stopped;
        }
        let workloads: Vec<ObjectRef> = step
            .workloads
            .iter()
            .map(|write| write.object.reference())
            .collect();
        let task = service.as_str();
        let begun = self.waiting.begin(task);
        tokio::select! {
            outcome = self.context.ready.ready(service, &workloads) => match outcome {
                Ok(()) => End::Ready(Some(self.waiting.end(task, begun, TaskOutcome::Done, ""))),
                Err(reason) => {
                    let detail = first_message(reason.as_ref());
                    self.waiting.end(task, begun, TaskOutcome::Failed, &detail);
                    End::Failed(vec![Failure::NotReady { service: service.clone(), reason }])
                }
            },
            () = self.stopped() => {
                self.waiting.end(task, begun, TaskOutcome::Failed, "not waited for to the end");
                End::Stopped
            }
        }
    }

    /// Ends when waits are to end.
    async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        let stopping = stop
            .wait_for(|stop| *stop > Stop::No)
            .await
            .map(|stop| *stop);
        if matches!(stopping, Ok(Stop::Soon)) {
            let _ = tokio::time::timeout(GRACE, stop.wait_for(|stop| *stop == Stop::Now)).await;
        }
    }

    fn finish(&self, report: &ApplyReport) {
        let unchanged = report
            .applied
            .iter()
            .filter(|(_, applied)| *applied == Applied::Unchanged)
            .count();
        let written = report.applied.len() - unchanged;
        self.applying.finish(match unchanged {
            0 => format!("{written} applied"),
            unchanged => format!("{written} applied, {unchanged} unchanged"),
        });
        self.waiting.finish(format!("{} ready", report.ready.len()));
    }
}

#[cfg(test)]
mod tests;
