//! What engines report as they work, measured: phases and tasks become spans of `--timings`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::{Event, EventSink, Phase};
use crate::timings::{Running, Step, Timings};

/// Passes events on, and takes the time of what lies between two of them.
pub struct Measured {
    inner: Arc<dyn EventSink>,
    timings: Timings,
    running: Mutex<HashMap<(Phase, Option<String>), Running>>,
}

impl Measured {
    /// In front of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn EventSink>, timings: Timings) -> Self {
        Self {
            inner,
            timings,
            running: Mutex::default(),
        }
    }

    fn begin(&self, phase: Phase, task: Option<&str>) {
        let running = match (phase, task) {
            (Phase::Plan, None) => self.timings.common(Step::Plan),
            (Phase::Apply, None) => self.timings.common(Step::Apply),
            (Phase::Ready, Some(service)) => self.timings.span(service, Step::Ready),
            (Phase::Smoke, Some(service)) => self.timings.span(service, Step::Smoke),
            // Builds and deliveries measure themselves, in more detail.
            _ => return,
        };
        self.running()
            .insert((phase, task.map(str::to_owned)), running);
    }

    fn end(&self, phase: Phase, task: Option<&str>) {
        self.running().remove(&(phase, task.map(str::to_owned)));
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<(Phase, Option<String>), Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for Measured {
    fn emit(&self, event: Event) {
        match &event {
            Event::PhaseStarted(phase) => self.begin(*phase, None),
            Event::PhaseFinished { phase, .. } => self.end(*phase, None),
            Event::TaskStarted { phase, task } => self.begin(*phase, Some(task)),
            Event::TaskFinished { phase, task, .. } => self.end(*phase, Some(task)),
            _ => {}
        }
        self.inner.emit(event);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{Recorder, TaskOutcome};

    #[test]
    fn phases_and_tasks_become_spans() {
        let timings = Timings::start();
        let recorder = Arc::new(Recorder::default());
        let sink = Measured::new(Arc::clone(&recorder) as Arc<dyn EventSink>, timings.clone());
        let task = || "counter".to_owned();
        sink.emit(Event::PhaseStarted(Phase::Plan));
        sink.emit(Event::PhaseFinished {
            phase: Phase::Plan,
            summary: String::new(),
            elapsed: Duration::ZERO,
        });
        sink.emit(Event::TaskStarted {
            phase: Phase::Ready,
            task: task(),
        });
        sink.emit(Event::TaskFinished {
            phase: Phase::Ready,
            task: task(),
            outcome: TaskOutcome::Done,
            detail: String::new(),
            elapsed: Duration::ZERO,
        });
        assert_eq!(recorder.events().len(), 4, "all are passed on");
        let run = timings.run().unwrap();
        let spans: Vec<(Option<&str>, Step)> = run
            .spans
            .iter()
            .map(|span| (span.service.as_deref(), span.step))
            .collect();
        assert_eq!(spans, [(None, Step::Plan), (Some("counter"), Step::Ready)]);
    }
}
