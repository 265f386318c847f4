//! Takes a stack down: what carries its labels goes, what holds data stays unless that is meant too.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use k8s_model::{Gvk, ObjectRef};
use kube::api::PropagationPolicy;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::{
    Deleted, INSTANCE, Lock, LockError, MANAGED_BY, ObjectError, ObjectErrors, Objects, Owned,
    PART_OF, STACKCTL, generated_secret_name, labelled, lease_name,
};
use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::event::{EventSink, Phase, TaskOutcome};
use crate::stack::{EnvName, Namespace, ServiceName, StackName};

use super::phase::PhaseReport;

/// Objects are still there at the deadline.
const BLOCKED: Code = Code::new("S0721");
/// The run was interrupted.
const INTERRUPTED: Code = Code::new("S0722");

/// Deletions that run at a time.
const CONCURRENCY: usize = 16;
/// The first wait between two looks at an object that is going; each further one is twice as long.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// The longest such wait.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// Kinds that run pods: they go first, so that what their pods use is there until the end.
const WORKLOADS: [&str; 7] = [
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "CronJob",
    "Job",
    "Pod",
];

/// What to take down.
pub struct DeleteRequest<'a> {
    /// The stack.
    pub stack: &'a StackName,
    /// The environment: what is labelled as another one's stays.
    pub environment: &'a EnvName,
    /// Its namespace.
    pub namespace: &'a Namespace,
    /// Only these services; none: all of the stack.
    pub services: Option<&'a BTreeSet<ServiceName>>,
    /// Also volumes, generated secrets and the namespace.
    pub data: bool,
    /// How long all of it may take.
    pub deadline: Duration,
}

/// What became of the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteReport {
    /// What is gone, in the order of deletion.
    pub deleted: Vec<ObjectRef>,
    /// What stays, and why.
    pub kept: Vec<(ObjectRef, Kept)>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why an object stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It holds data, and data was not to be deleted.
    Data,
    /// It was not made by this program.
    Foreign,
    /// Other stacks are in it.
    Shared,
}

/// An object that does not go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Which.
    pub object: ObjectRef,
    /// What holds it.
    pub finalizers: Vec<String>,
}

/// Why not all is gone.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The cluster refused.
    #[error(transparent)]
    Objects(#[from] ObjectErrors),
    /// The deadline passed.
    #[error("{}", blocked_message(.0))]
    Blocked(Vec<Blocked>),
    /// Ctrl-C.
    #[error("interrupted; {} objects were deleted before", .0.deleted.len())]
    Interrupted(DeleteReport),
    /// The lock was lost.
    #[error(transparent)]
    Lock(LockError),
}

impl Explain for DeleteError {
    fn exit(&self) -> Exit {
        match self {
            Self::Objects(errors) => errors.exit(),
            Self::Blocked(_) => Exit::TimedOut,
            Self::Interrupted(_) => Exit::Interrupted,
            Self::Lock(error) => error.exit(),
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Objects(errors) => errors.diagnostics(),
            Self::Lock(error) => error.diagnostics(),
            Self::Interrupted(_) => vec![
                Diagnostic::error(INTERRUPTED, self.to_string())
                    .hint("run the command again and it continues from there"),
            ],
            Self::Blocked(blocked) => {
                let problem = blocked.iter().fold(
                    Diagnostic::error(BLOCKED, self.to_string()),
                    |problem, blocked| problem.note(blocked.to_string()),
                );
                vec![problem.hint(
                    "find out whether the controller that has to remove a finalizer is running",
                )]
            }
        }
    }
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.finalizers.is_empty() {
            write!(f, "{}: no finalizer, it should go by itself", self.object)
        } else {
            write!(f, "{}: held by {}", self.object, self.finalizers.join(", "))
        }
    }
}

/// Deletes a stack and waits until it is gone: workloads with their pods, then all else, then the lock,
/// then (with `data`) the namespace, if it is the stack's own.
pub async fn down(
    objects: &Objects,
    request: &DeleteRequest<'_>,
    lock: Option<Lock>,
    events: &dyn EventSink,
    cancel: &CancellationToken,
) -> Result<DeleteReport, DeleteError> {
    let started = Instant::now();
    let run = Run {
        objects,
        deadline: started + request.deadline,
        report: PhaseReport::new(Phase::Delete, events),
    };
    let mut report = DeleteReport::default();
    let outcome = run
        .contents(request, lock.as_ref(), cancel, &mut report)
        .await;
    // Before the namespace, because the lease is in it; also after a failure, for the next run.
    if let Some(lock) = lock {
        lock.release().await;
    }
    let outcome = match outcome {
        Ok(()) if request.data && request.services.is_none() => tokio::select! {
            outcome = run.namespace(request, &mut report) => outcome,
            () = cancel.cancelled() => Err(Stopped::Interrupted),
        },
        outcome => outcome,
    };
    report.elapsed = started.elapsed();
    run.report.finish(match report.kept.len() {
        0 => format!("{} deleted", report.deleted.len()),
        kept => format!("{} deleted, {kept} kept", report.deleted.len()),
    });
    match outcome {
        Ok(()) => Ok(report),
        Err(Stopped::Interrupted) => Err(DeleteError::Interrupted(report)),
        Err(Stopped::Failed(error)) => Err(error),
    }
}

/// Why a run ended early.
enum Stopped {
    Interrupted,
    Failed(DeleteError),
}

impl<E: Into<DeleteError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn lost_lock(lock: Option<&Lock>) -> DeleteError {
    let error = lock.and_then(|lock| lock.check().err());
    DeleteError::Lock(error.unwrap_or(LockError::Deleted))
}

/// What goes, in waves, each after the one before is gone; what stays is noted in the report.
async fn plan(
    objects: &Objects,
    request: &DeleteRequest<'_>,
    report: &mut DeleteReport,
) -> Result<[Vec<Owned>; 3], ObjectErrors> {
    let selector = format!("{PART_OF}={}", request.stack);
    let found = labelled(objects, request.namespace, &selector)
        .await
        .map_err(one)?;
    let (mut workloads, mut rest, mut data) = (Vec::new(), Vec::new(), Vec::new());
    for object in found.into_iter().filter(|object| is_meant(object, request)) {
        let kind = object.reference.gvk.kind.as_str();
        if is_data(&object, request.stack) {
            if request.data {
                data.push(object);
            } else {
                report.kept.push((object.reference, Kept::Data));
            }
        } else if WORKLOADS.contains(&kind) {
            workloads.push(object);
        } else {
            rest.push(object);
        }
    }
    Ok([workloads, rest, data])
}

/// Volumes of a StatefulSet carry only the labels of its selector, so that one without a manager counts;
/// everything else must say that it is ours.
fn is_meant(object: &Owned, request: &DeleteRequest<'_>) -> bool {
    let ours = match object.label(MANAGED_BY) {
        Some(manager) => manager == STACKCTL,
        None => object.reference.gvk.kind == "PersistentVolumeClaim",
    };
    let is_lock =
        object.reference.gvk.kind == "Lease" && object.reference.name == lease_name(request.stack);
    let of_service = request.services.is_none_or(|services| {
        object
            .label("app.kubernetes.io/name")
            .is_some_and(|name| services.contains(name))
    });
    let of_environment = object
        .label(INSTANCE)
        .is_none_or(|instance| instance == request.environment.as_str());
    ours && of_environment && !is_lock && of_service
}

fn is_data(object: &Owned, stack: &StackName) -> bool {
    match object.reference.gvk.kind.as_str() {
        "PersistentVolumeClaim" => true,
        "Secret" => object.reference.name == generated_secret_name(stack),
        _ => false,
    }
}

struct Run<'a> {
    objects: &'a Objects,
    deadline: Instant,
    report: PhaseReport<'a>,
}

impl Run<'_> {
    /// Everything in the namespace, wave by wave.
    async fn contents(
        &self,
        request: &DeleteRequest<'_>,
        lock: Option<&Lock>,
        cancel: &CancellationToken,
        report: &mut DeleteReport,
    ) -> Result<(), Stopped> {
        for wave in plan(self.objects, request, report).await? {
            let lost = lock.map(Lock::lost).unwrap_or_default();
            tokio::select! {
                outcome = self.wave(&wave) => report.deleted.extend(outcome?),
                () = cancel.cancelled() => return Err(Stopped::Interrupted),
                () = lost.cancelled() => return Err(lost_lock(lock).into()),
            }
        }
        Ok(())
    }

    /// Deletes objects and waits until all of them are gone.
    async fn wave(&self, wave: &[Owned]) -> Result<Vec<ObjectRef>, DeleteError> {
        let outcomes: Vec<_> = stream::iter(wave)
            .map(|object| self.delete(object))
            .buffered(CONCURRENCY)
            .collect()
            .await;
        let (mut deleted, mut errors, mut blocked) = (Vec::new(), Vec::new(), Vec::new());
        for (object, outcome) in wave.iter().zip(outcomes) {
            match outcome {
                Ok(Ok(())) => deleted.push(object.reference.clone()),
                Ok(Err(finalizers)) => blocked.push(Blocked {
                    object: object.reference.clone(),
                    finalizers,
                }),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(ObjectErrors(errors).into());
        }
        if !blocked.is_empty() {
            return Err(DeleteError::Blocked(blocked));
        }
        Ok(deleted)
    }

    /// The inner error: what holds the object at the deadline.
    async fn delete(&self, object: &Owned) -> Result<Result<(), Vec<String>>, ObjectError> {
        let task = object.reference.to_string();
        let begun = self.report.begin(&task);
        let outcome = self.delete_and_wait(&object.reference, object.uid()).await;
        let (end, detail) = match &outcome {
            Ok(Ok(())) => (TaskOutcome::Done, String::new()),
            Ok(Err(finalizers)) => (TaskOutcome::Failed, finalizers.join(", ")),
            Err(error) => (TaskOutcome::Failed, error.to_string()),
        };
        self.report.end(&task, begun, end, &detail);
        outcome
    }

    async fn delete_and_wait(
        &self,
        object: &ObjectRef,
        uid: &str,
    ) -> Result<Result<(), Vec<String>>, ObjectError> {
        // A workload is to be gone only when its pods are; for all else that would be slow for nothing.
        let propagation = if WORKLOADS.contains(&object.gvk.kind.as_str()) {
            PropagationPolicy::Foreground
        } else {
            PropagationPolicy::Background
        };
        let deleted = self.objects.delete(object, Some(uid), propagation).await?;
        match deleted {
            Deleted::Absent => Ok(Ok(())),
            Deleted::Accepted => {
                self.report
                    .progress(&object.to_string(), "waiting until it is gone".to_owned());
                wait_until_gone(self.objects, object, uid, self.deadline).await
            }
        }
    }

    async fn namespace(
        &self,
        request: &DeleteRequest<'_>,
        report: &mut DeleteReport,
    ) -> Result<(), Stopped> {
        let reference = ObjectRef {
            gvk: Gvk::new("v1", "Namespace"),
            namespace: None,
            name: request.namespace.to_string(),
        };
        let live = self.objects.get(&reference).await.map_err(one)?;
        let Some(live) = live else {
            return Ok(());
        };
        let namespace = Owned { reference, live };
        let ours =
            namespace.is_managed() && namespace.label(PART_OF) == Some(request.stack.as_str());
        if !ours {
            report.kept.push((namespace.reference, Kept::Foreign));
            return Ok(());
        }
        let selector = format!("{MANAGED_BY}={STACKCTL}");
        let inside = labelled(self.objects, request.namespace, &selector)
            .await
            .map_err(one)?;
        let of_others = |object: &Owned| object.label(PART_OF) != Some(request.stack.as_str());
        if inside.iter().any(of_others) {
            report.kept.push((namespace.reference, Kept::Shared));
            return Ok(());
        }
        let gone = self.wave(std::slice::from_ref(&namespace)).await?;
        report.deleted.extend(gone);
        Ok(())
    }
}

/// Looks at an object until it, as identified by `uid`, is gone. The inner error holds its finalizers at
/// the deadline. Looks become rarer: a watch for each of many objects would cost more than it tells.
pub(super) async fn wait_until_gone(
    objects: &Objects,
    object: &ObjectRef,
    uid: &str,
    deadline: Instant,
) -> Result<Result<(), Vec<String>>, ObjectError> {
    let mut wait = FIRST_LOOK;
    loop {
        let live = match objects.get(object).await? {
            Some(live) if live["metadata"]["uid"] == uid => live,
            _ => return Ok(Ok(())),
        };
        if Instant::now() >= deadline {
            return Ok(Err(finalizers(&live)));
        }
        tokio::time::sleep_until((Instant::now() + wait).min(deadline)).await;
        wait = (wait * 2).min(LAST_LOOK);
    }
}

/// What holds an object; a namespace says it in its status.
fn finalizers(live: &Value) -> Vec<String> {
    let mut found: Vec<String> = ["/metadata/finalizers", "/spec/finalizers"]
        .iter()
        .filter_map(|pointer| live.pointer(pointer)?.as_array())
        .flatten()
        .filter_map(|finalizer| finalizer.as_str().map(str::to_owned))
        .collect();
    let conditions = live.pointer("/status/conditions").and_then(Value::as_array);
    for condition in conditions.into_iter().flatten() {
        let remains = condition["type"] == "NamespaceContentRemaining"
            || condition["type"] == "NamespaceFinalizersRemaining";
        if remains && condition["status"] == "True" {
            found.extend(condition["message"].as_str().map(str::to_owned));
        }
    }
    found
}

fn blocked_message(blocked: &[Blocked]) -> String {
    match blocked {
        [one] => format!("{} is still there at the deadline", one.object),
        many => format!("{} objects are still there at the deadline", many.len()),
    }
}

fn one(error: ObjectError) -> ObjectErrors {
    ObjectErrors(vec![error])
}

#[cfg(test)]
mod tests;
