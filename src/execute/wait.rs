//! Waiting until a service is ready, broken for a known cause, or out of time.
//!
//! Nothing is asked at intervals: a wait wakes when the [`Watch`] has seen a change, and at the next moment at
//! which the verdict can change by time alone.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_model::ObjectRef;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::watch::{LOST_AFTER, Watch, WatchError, workload_api};
use crate::diagnosis::{
    Cause, Expectation, LogSource, Observed, START_ALLOWANCE, Verdict, diagnose,
};
use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::event::{Event, EventSink, Phase};
use crate::readiness::Reason;
use crate::stack::ServiceName;

const TIMED_OUT: Code = Code::new("S0801");
const CANCELLED: Code = Code::new("S0824");

/// Timestamps of objects have whole seconds, and the cluster's clocks differ a little.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// Log lines that are told with a cause.
const TAIL_LINES: i64 = 10;

/// A program may write very long lines.
const TAIL_BYTES: i64 = 16 * 1024;

/// A log is worth only a short wait: the cause is known without it.
const TAIL_TIMEOUT: Duration = Duration::from_secs(3);

/// What is waited for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The service.
    pub service: ServiceName,
    /// Its Deployment, StatefulSet, DaemonSet or Job.
    pub workload: ObjectRef,
    /// How long one pod may take from the moment its containers run; see [`crate::diagnosis::START_ALLOWANCE`]
    /// for what comes before.
    pub ready_within: Duration,
    /// [`Watch::now`] just before the workload was applied: trouble from before may be cured by it.
    pub since: Timestamp,
}

/// Why a wait did not end in a ready service.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The cause is known. Its log lines are as the container wrote them.
    #[error("{}", _0.message())]
    Broken(Box<Cause>),
    /// The deadline passed and nothing that was seen explains why.
    #[error("{0}")]
    TimedOut(Box<TimedOut>),
    /// The cluster cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// Ctrl-C.
    #[error("interrupted while waiting for {service}")]
    Cancelled {
        /// The service.
        service: ServiceName,
    },
}

/// What was known when a deadline passed.
#[derive(Clone, Debug)]
pub struct TimedOut {
    /// The service.
    pub service: ServiceName,
    /// Its workload.
    pub workload: ObjectRef,
    /// What was last seen.
    pub reason: Reason,
    /// How long it was waited for.
    pub after: Duration,
    /// The last lines of the container that runs and is not ready, as it wrote them.
    pub log_tail: Vec<String>,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service,
            reason,
            after,
            ..
        } = self;
        write!(
            f,
            "{service} is not ready after {} s: {reason}",
            after.as_secs()
        )
    }
}

impl TimedOut {
    fn diagnostic(&self) -> Diagnostic {
        let diagnostic = Diagnostic::error(TIMED_OUT, self.to_string())
            .note(self.workload.to_string())
            .hint("if the service only needs longer, raise readyWithin");
        if self.log_tail.is_empty() {
            return diagnostic;
        }
        diagnostic.note(format!("last log lines:\n  {}", self.log_tail.join("\n  ")))
    }
}

impl Explain for WaitError {
    fn exit(&self) -> Exit {
        match self {
            Self::Broken(_) => Exit::NotReady,
            Self::TimedOut(_) => Exit::TimedOut,
            Self::Watch(error) => error.exit(),
            Self::Cancelled { .. } => Exit::Interrupted,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Broken(cause) => vec![cause.diagnostic(|_, _| None)],
            Self::TimedOut(overdue) => vec![overdue.diagnostic()],
            Self::Watch(error) => error.diagnostics(),
            Self::Cancelled { .. } => vec![Diagnostic::error(CANCELLED, self.to_string())],
        }
    }
}

/// Waits for one service; returns how long it took. Many may wait over one [`Watch`] at once. Tells what it
/// waits for as [`Event::TaskProgress`] of the task named like the service.
pub async fn until_ready(
    watch: &Watch,
    client: &kube::Client,
    target: &Target,
    events: &dyn EventSink,
    cancel: &CancellationToken,
) -> Result<Duration, WaitError> {
    let wait = Wait {
        watch,
        client,
        target,
        events,
        started: Instant::now(),
    };
    let cancelled = cancel.run_until_cancelled(wait.run()).await;
    cancelled.unwrap_or_else(|| {
        Err(WaitError::Cancelled {
            service: target.service.clone(),
        })
    })
}

struct Wait<'a> {
    watch: &'a Watch,
    client: &'a kube::Client,
    target: &'a Target,
    events: &'a dyn EventSink,
    started: Instant,
}

/// What the picture allows to say.
enum Step {
    Ready,
    /// Nothing before this moment, unless something changes.
    Sleep(String, Instant),
}

impl Wait<'_> {
    async fn run(&self) -> Result<Duration, WaitError> {
        let mut changes = self.watch.changes();
        let applied = self.applied().await?;
        let mut said = String::new();
        loop {
            changes.mark_unchanged();
            for warning in self.watch.take_warnings() {
                self.events.emit(Event::Warning(warning));
            }
            match self.look(&applied).await? {
                Step::Ready => return Ok(self.started.elapsed()),
                Step::Sleep(reason, until) => {
                    self.say(&mut said, reason);
                    tokio::select! {
                        // The sender lives as long as the watch.
                        _ = changes.changed() => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
            }
        }
    }

    /// What the API server has now: the picture must not be older, or it would show the workload as it was
    /// before it was applied.
    async fn applied(&self) -> Result<Applied, WatchError> {
        let ObjectRef { gvk, name, .. } = &self.target.workload;
        let api = workload_api(self.client, self.watch.namespace(), &gvk.kind)?;
        // A failure here shows in the watch as well, which knows how long to bear it.
        let live = timeout(LOST_AFTER, api.get_metadata_opt(name)).await;
        let metadata = live
            .ok()
            .and_then(Result::ok)
            .flatten()
            .map(|live| live.metadata);
        Ok(metadata.map_or_else(Applied::default, |metadata| Applied {
            uid: metadata.uid,
            generation: metadata.generation,
        }))
    }

    async fn look(&self, applied: &Applied) -> Result<Step, WaitError> {
        self.watch.check(&self.target.workload.gvk.kind)?;
        if let Some(failure) = self.watch.failure() {
            // What is known may have changed, so nothing is concluded from it.
            return match failure.lost() {
                Some(lost) => Err(lost.into()),
                None => Ok(Step::Sleep(
                    "no connection to the cluster".to_owned(),
                    failure.lost_at(),
                )),
            };
        }
        if !self.watch.is_complete() {
            return self.bear("reading the cluster");
        }
        let observed = self.watch.observed();
        if observed.find(&self.target.workload).is_none() {
            return self.bear("it does not exist");
        }
        if !applied.is_in(&observed, &self.target.workload) {
            return self.bear("its newest version is not seen yet");
        }
        let verdict = diagnose(&observed, &self.expectation());
        self.conclude(&observed, verdict).await
    }

    /// Sleeps while there is nothing to judge, but not for longer than a first pod may take.
    fn bear(&self, reason: &str) -> Result<Step, WaitError> {
        let end = self.started + START_ALLOWANCE + self.target.ready_within;
        if Instant::now() < end {
            return Ok(Step::Sleep(reason.to_owned(), end));
        }
        Err(self.timed_out(Reason::new(reason), Vec::new()))
    }

    fn timed_out(&self, reason: Reason, log_tail: Vec<String>) -> WaitError {
        WaitError::TimedOut(Box::new(TimedOut {
            service: self.target.service.clone(),
            workload: self.target.workload.clone(),
            reason,
            after: self.started.elapsed(),
            log_tail,
        }))
    }

    async fn conclude(&self, observed: &Observed, verdict: Verdict) -> Result<Step, WaitError> {
        match verdict {
            Verdict::Ready => Ok(Step::Ready),
            Verdict::Waiting { reason, recheck_at } => {
                let left = recheck_at.duration_since(observed.now);
                let left = Duration::try_from(left).unwrap_or_default();
                Ok(Step::Sleep(reason.to_string(), Instant::now() + left))
            }
            Verdict::Broken(mut cause) => {
                if let Some(source) = LogSource::of_cause(observed, &cause) {
                    cause.log_tail = self.tail(&source).await;
                }
                Err(WaitError::Broken(cause))
            }
            Verdict::TimedOut { reason } => {
                let log_tail = match LogSource::of_silent(observed, &self.target.workload) {
                    Some(source) => self.tail(&source).await,
                    None => Vec::new(),
                };
                Err(self.timed_out(reason, log_tail))
            }
        }
    }

    fn expectation(&self) -> Expectation {
        let since = self
            .target
            .since
            .checked_sub(SLACK)
            .unwrap_or(Timestamp::MIN);
        Expectation {
            service: self.target.service.clone(),
            workload: self.target.workload.clone(),
            ready_within: self.target.ready_within,
            since: Some(since),
        }
    }

    fn say(&self, said: &mut String, reason: String) {
        if *said != reason {
            said.clone_from(&reason);
            self.events.emit(Event::TaskProgress {
                phase: Phase::Ready,
                task: self.target.service.to_string(),
                message: reason,
            });
        }
    }

    /// The last log lines; none where they cannot be had. Between looking and asking the next run may have
    /// begun, or the old one been forgotten, so the other run is tried as well.
    async fn tail(&self, source: &LogSource) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), self.watch.namespace());
        for previous in [source.previous, !source.previous] {
            let params = LogParams {
                container: Some(source.container.clone()),
                previous,
                tail_lines: Some(TAIL_LINES),
                limit_bytes: Some(TAIL_BYTES),
                ..LogParams::default()
            };
            let log = timeout(TAIL_TIMEOUT, pods.logs(&source.pod, &params)).await;
            let lines = match log {
                Ok(Ok(log)) => lines(&log),
                _ => Vec::new(),
            };
            if !lines.is_empty() {
                return lines;
            }
        }
        Vec::new()
    }
}

/// The lines of a log. Of a container that is gone, kubelets say so in place of its log.
fn lines(log: &str) -> Vec<String> {
    log.lines()
        .map(str::trim_end)
        .filter(|line| !line.starts_with("unable to retrieve container logs for "))
        .map(str::to_owned)
        .collect()
}

/// The version of a workload that the API server has.
#[derive(Debug, Default)]
struct Applied {
    uid: Option<String>,
    generation: Option<i64>,
}

impl Applied {
    fn is_in(&self, observed: &Observed, workload: &ObjectRef) -> bool {
        let Some(uid) = self.uid.as_deref() else {
            return true;
        };
        observed.find(workload).is_some_and(|seen| {
            let seen_uid = seen.pointer("/metadata/uid").and_then(|uid| uid.as_str());
            let generation = seen
                .pointer("/metadata/generation")
                .and_then(|seen| seen.as_i64());
            seen_uid == Some(uid) && generation >= self.generation
        })
    }
}
