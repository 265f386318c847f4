//! A phase as events: it starts with its first task and ends with a summary.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use crate::event::{Event, EventSink, Phase, TaskOutcome};

/// Reports the tasks of one phase.
pub(super) struct PhaseReport<'a> {
    phase: Phase,
    events: &'a dyn EventSink,
    started: Mutex<Option<Instant>>,
}

impl<'a> PhaseReport<'a> {
    pub(super) fn new(phase: Phase, events: &'a dyn EventSink) -> Self {
        Self {
            phase,
            events,
            started: Mutex::new(None),
        }
    }

    /// Reports the beginning of a task and returns its time.
    pub(super) fn begin(&self, task: &str) -> Instant {
        let now = Instant::now();
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if started.is_none() {
            *started = Some(now);
            self.events.emit(Event::PhaseStarted(self.phase));
        }
        self.events.emit(Event::TaskStarted {
            phase: self.phase,
            task: task.to_owned(),
        });
        now
    }

    /// Reports what a running task waits for.
    pub(super) fn progress(&self, task: &str, message: String) {
        self.events.emit(Event::TaskProgress {
            phase: self.phase,
            task: task.to_owned(),
            message,
        });
    }

    /// Reports the end of a task; returns how long it took.
    pub(super) fn end(
        &self,
        task: &str,
        begun: Instant,
        outcome: TaskOutcome,
        detail: &str,
    ) -> Duration {
        let elapsed = begun.elapsed();
        self.events.emit(Event::TaskFinished {
            phase: self.phase,
            task: task.to_owned(),
            outcome,
            detail: detail.to_owned(),
            elapsed,
        });
        elapsed
    }

    /// Reports the end of the phase, if it began.
    pub(super) fn finish(&self, summary: String) {
        let started = self
            .started
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(started) = started {
            self.events.emit(Event::PhaseFinished {
                phase: self.phase,
                summary,
                elapsed: started.elapsed(),
            });
        }
    }
}
