//! What engines report while they work. They never print: `ui` draws these events.

use std::time::Duration;

use crate::diagnostic::Diagnostic;

/// A step of a command, in the order of `up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Images are built.
    Build,
    /// Images are brought to where the cluster finds them.
    Deliver,
    /// Desired and live objects are compared.
    Plan,
    /// Objects are written.
    Apply,
    /// Workloads become ready.
    Ready,
    /// Smoke tests run.
    Smoke,
    /// Objects are deleted.
    Delete,
    /// Ports are forwarded.
    Forward,
}

/// How a task of a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskOutcome {
    /// It did its work.
    Done,
    /// There was nothing to do.
    Unchanged,
    /// It failed; the error follows with the command's result.
    Failed,
}

/// One fact about a running command. Tasks are named by what a user knows: a service, an object.
#[derive(Clone, Debug)]
pub enum Event {
    /// Which cluster the command talks to.
    Context {
        /// Name of the kubeconfig context.
        context: String,
        /// Whether the environment pins this cluster.
        pinned: bool,
        /// The namespace of the environment.
        namespace: String,
    },
    /// A phase began.
    PhaseStarted(Phase),
    /// A phase ended; `summary` is one line such as `1 built, 5 cached`.
    PhaseFinished {
        /// Which.
        phase: Phase,
        /// What came out of it.
        summary: String,
        /// How long it took.
        elapsed: Duration,
    },
    /// A task of a phase began.
    TaskStarted {
        /// The phase it is part of.
        phase: Phase,
        /// Its name, unique within the phase.
        task: String,
    },
    /// What a running task is doing or waiting for; replaces the last such message of the task.
    TaskProgress {
        /// The phase it is part of.
        phase: Phase,
        /// Its name.
        task: String,
        /// Such as `1/2 ready`.
        message: String,
    },
    /// A task ended.
    TaskFinished {
        /// The phase it is part of.
        phase: Phase,
        /// Its name.
        task: String,
        /// How.
        outcome: TaskOutcome,
        /// A few words, may be empty.
        detail: String,
        /// How long it took.
        elapsed: Duration,
    },
    /// A line that a program wrote on behalf of a task: cargo, the Docker builder.
    Output {
        /// The task's name.
        task: String,
        /// Without the line break; known secrets are already replaced.
        line: String,
    },
    /// A line of a service's log: data, which goes to stdout.
    Log {
        /// The service.
        service: String,
        /// Its pod.
        pod: String,
        /// The container in the pod.
        container: String,
        /// RFC 3339.
        time: String,
        /// Without the line break.
        text: String,
    },
    /// A change that a plan holds, already in words.
    Change {
        /// `+`, `~` or `-`.
        sign: char,
        /// Such as `Deployment/counter`.
        object: String,
        /// Such as `spec.replicas`; may be empty.
        field: String,
        /// Such as `2 → 3`; never those of a secret.
        values: String,
        /// Where a user would change it, such as `environments/staging.yaml:14`; may be empty.
        place: String,
    },
    /// Something to know that stops nothing.
    Warning(Diagnostic),
    /// Something worth a line of its own, such as `waiting for the lock held by …`.
    Note(String),
}

/// Where events go.
pub trait EventSink: Send + Sync {
    /// Takes one event; must not block for long.
    fn emit(&self, event: Event);
}

/// Drops all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl EventSink for Silent {
    fn emit(&self, _event: Event) {}
}

/// Keeps all events, for tests and reports.
#[derive(Debug, Default)]
pub struct Recorder(std::sync::Mutex<Vec<Event>>);

impl Recorder {
    /// The events so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

impl EventSink for Recorder {
    fn emit(&self, event: Event) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(event);
    }
}
