//! What a running build says: events of the phase `Build`, and the last lines for an error.

use std::collections::VecDeque;
use std::time::Instant;

use crate::event::{Event, EventSink, Phase, TaskOutcome};

/// As many lines as a terminal shows below an error.
const TAIL: usize = 20;

/// One running task of a phase; dropped unfinished, it has failed.
pub(crate) struct Task<'a> {
    events: &'a dyn EventSink,
    phase: Phase,
    name: String,
    started: Instant,
    finished: bool,
}

impl<'a> Task<'a> {
    /// Says that it began.
    pub(crate) fn start(events: &'a dyn EventSink, phase: Phase, name: impl Into<String>) -> Self {
        let name = name.into();
        events.emit(Event::TaskStarted {
            phase,
            task: name.clone(),
        });
        Self {
            events,
            phase,
            name,
            started: Instant::now(),
            finished: false,
        }
    }

    /// Says what it does.
    pub(crate) fn progress(&self, message: impl Into<String>) {
        self.events.emit(Event::TaskProgress {
            phase: self.phase,
            task: self.name.clone(),
            message: message.into(),
        });
    }

    /// Passes on a line of a program.
    pub(crate) fn output(&self, line: &str) {
        self.events.emit(Event::Output {
            task: self.name.clone(),
            line: line.to_owned(),
        });
    }

    /// Passes on a line of a program that works for more tasks than this one.
    pub(crate) fn output_of(&self, program: &str, line: &str) {
        self.events.emit(Event::Output {
            task: program.to_owned(),
            line: line.to_owned(),
        });
    }

    /// How long it has run.
    pub(crate) fn elapsed(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    /// Says how it ended.
    pub(crate) fn finish(mut self, outcome: TaskOutcome, detail: impl Into<String>) {
        self.end(outcome, detail.into());
    }

    fn end(&mut self, outcome: TaskOutcome, detail: String) {
        self.finished = true;
        self.events.emit(Event::TaskFinished {
            phase: self.phase,
            task: self.name.clone(),
            outcome,
            detail,
            elapsed: self.started.elapsed(),
        });
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.end(TaskOutcome::Failed, String::new());
        }
    }
}

/// The last lines of an output.
#[derive(Debug, Default)]
pub(crate) struct Tail(VecDeque<String>);

impl Tail {
    /// Adds a line.
    pub(crate) fn push(&mut self, line: &str) {
        if self.0.len() == TAIL {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    /// The lines, oldest first.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.0.into()
    }
}
