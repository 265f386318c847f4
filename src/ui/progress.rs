//! Events → progress on stderr: bars on a terminal, lines elsewhere.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::event::{Event, EventSink, Phase, TaskOutcome};

use super::{diagnostics, duration};

/// A line says more than a bar where nobody looks on; but not more often than this for one task.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Lines of a task's output that are kept to be shown when it fails.
const OUTPUT_KEPT: usize = 200;

/// What is shown of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Warnings only.
    Quiet,
    /// Steps that did something.
    Normal,
    /// Steps that did nothing too, and all output.
    Verbose,
}

/// Events as lines.
pub(super) struct Lines {
    detail: Detail,
    shown: Mutex<HashMap<(Phase, String), (Instant, String)>>,
}

/// Events as bars above which finished steps stand as lines.
pub(super) struct Bars {
    detail: Detail,
    all: MultiProgress,
    state: Mutex<BarState>,
}

#[derive(Default)]
struct BarState {
    running: HashMap<(Phase, String), ProgressBar>,
    output: HashMap<String, VecDeque<String>>,
}

impl Lines {
    pub(super) fn new(detail: Detail) -> Self {
        Self {
            detail,
            shown: Mutex::default(),
        }
    }

    /// Whether a message of a running task is worth a line now.
    fn is_due(&self, phase: Phase, task: &str, message: &str) -> bool {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match shown.get_mut(&(phase, task.to_owned())) {
            Some((last, text)) if text != message && now - *last >= PROGRESS_EVERY => {
                (*last, *text) = (now, message.to_owned());
                true
            }
            Some(_) => false,
            None => {
                shown.insert((phase, task.to_owned()), (now, String::new()));
                false
            }
        }
    }
}

impl EventSink for Lines {
    fn emit(&self, event: Event) {
        match &event {
            Event::TaskProgress {
                phase,
                task,
                message,
            } if self.detail != Detail::Quiet => {
                if self.detail == Detail::Verbose || self.is_due(*phase, task, message) {
                    print(&[step(verb(*phase), &format!("{task}: {message}"))]);
                }
            }
            Event::Output { task, line } if self.detail != Detail::Quiet => {
                print(&[output(task, line)])
            }
            event => print(&lines(event, self.detail)),
        }
    }
}

impl Bars {
    pub(super) fn new(detail: Detail) -> Self {
        Self {
            detail,
            all: MultiProgress::new(),
            state: Mutex::default(),
        }
    }

    fn start(&self, phase: Phase, task: &str) {
        let style = ProgressStyle::with_template("{prefix:>9.bold.cyan}  {msg}  {elapsed:.dim}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = self.all.add(ProgressBar::new_spinner().with_style(style));
        bar.set_prefix(verb(phase));
        bar.set_message(task.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        self.state().running.insert((phase, task.to_owned()), bar);
    }

    fn finish(&self, phase: Phase, task: &str, outcome: TaskOutcome) {
        let mut state = self.state();
        if let Some(bar) = state.running.remove(&(phase, task.to_owned())) {
            bar.finish_and_clear();
        }
        let lines = state.output.remove(task).unwrap_or_default();
        if outcome == TaskOutcome::Failed && self.detail == Detail::Normal {
            let lines: Vec<String> = lines.iter().map(|line| output(task, line)).collect();
            self.all.suspend(|| print(&lines));
        }
    }

    fn keep_output(&self, task: &str, line: &str) {
        let mut state = self.state();
        let bar = state
            .running
            .iter()
            .find(|((_, running), _)| running == task)
            .map(|(_, bar)| bar);
        if let Some(bar) = bar {
            let line: String = line.trim().chars().take(80).collect();
            bar.set_message(format!("{task}  {line}"));
        }
        let kept = state.output.entry(task.to_owned()).or_default();
        if kept.len() == OUTPUT_KEPT {
            kept.pop_front();
        }
        kept.push_back(line.to_owned());
    }

    fn state(&self) -> std::sync::MutexGuard<'_, BarState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for Bars {
    fn emit(&self, event: Event) {
        match &event {
            Event::TaskStarted { phase, task } => self.start(*phase, task),
            Event::TaskProgress {
                phase,
                task,
                message,
            } => {
                if let Some(bar) = self.state().running.get(&(*phase, task.clone())) {
                    bar.set_message(format!("{task}  {message}"));
                }
            }
            Event::Output { task, line } if self.detail == Detail::Verbose => {
                self.all.suspend(|| print(&[output(task, line)]));
            }
            Event::Output { task, line } => self.keep_output(task, line),
            Event::TaskFinished {
                phase,
                task,
                outcome,
                ..
            } => self.finish(*phase, task, *outcome),
            _ => {}
        }
        let lines = lines(&event, self.detail);
        if !lines.is_empty() {
            self.all.suspend(|| print(&lines));
        }
    }
}

/// The lines that stay on the screen for an event.
fn lines(event: &Event, detail: Detail) -> Vec<String> {
    if let Event::Warning(warning) = event {
        return vec![diagnostics::draw(warning)];
    }
    if detail == Detail::Quiet {
        return Vec::new();
    }
    match event {
        Event::Context {
            context,
            pinned,
            namespace,
        } => {
            let pinned = if *pinned { ", pinned" } else { "" };
            vec![step(
                "Context",
                &format!("{context}{pinned} (namespace {namespace})"),
            )]
        }
        Event::PhaseFinished {
            phase,
            summary,
            elapsed,
        } if !summary.is_empty() => {
            vec![step(verb(*phase), &timed(summary, *elapsed))]
        }
        Event::TaskFinished {
            phase,
            task,
            outcome,
            detail: text,
            elapsed,
        } => {
            let text = match (text.as_str(), outcome) {
                ("", TaskOutcome::Failed) => format!("{task} failed"),
                ("", _) => task.clone(),
                (text, _) if text.starts_with(task.as_str()) => text.to_owned(),
                (text, _) => format!("{task} {text}"),
            };
            match outcome {
                TaskOutcome::Done if detail == Detail::Normal && is_small(*phase, *elapsed) => {
                    Vec::new()
                }
                TaskOutcome::Done => vec![step(verb(*phase), &timed(&text, *elapsed))],
                TaskOutcome::Unchanged if detail == Detail::Verbose => {
                    vec![step(verb(*phase), &text)]
                }
                TaskOutcome::Unchanged => Vec::new(),
                TaskOutcome::Failed => vec![failed(verb(*phase), &text)],
            }
        }
        Event::Change {
            sign,
            object,
            field,
            values,
            place,
        } => {
            let dim = Style::new().dimmed();
            vec![format!(
                "{:11}{sign} {object}  {field}  {values}  {dim}{place}{dim:#}",
                ""
            )]
        }
        Event::Note(text) => vec![step("Note", text)],
        _ => Vec::new(),
    }
}

/// Steps that come in dozens and take no time: the phase's own line counts them.
fn is_small(phase: Phase, elapsed: Duration) -> bool {
    match phase {
        Phase::Apply => true,
        Phase::Delete | Phase::Ready => elapsed < Duration::from_millis(500),
        _ => false,
    }
}

fn print(lines: &[String]) {
    use std::io::Write;
    let mut stderr = anstream::stderr().lock();
    for line in lines {
        // Nobody is left to be told when stderr is gone.
        let _ = writeln!(stderr, "{}", line.trim_end_matches('\n'));
    }
}

fn timed(text: &str, elapsed: Duration) -> String {
    let dim = Style::new().dimmed();
    format!("{text}  {dim}{}{dim:#}", duration::show(elapsed))
}

/// `text` behind a verb, as cargo has it.
pub(super) fn step(verb: &str, text: &str) -> String {
    verb_line(verb, text, AnsiColor::Green)
}

fn failed(verb: &str, text: &str) -> String {
    verb_line(verb, text, AnsiColor::Red)
}

fn verb_line(verb: &str, text: &str, color: AnsiColor) -> String {
    let style = color.on_default().bold();
    format!("{style}{verb:>9}{style:#}  {text}")
}

fn output(task: &str, line: &str) -> String {
    let dim = Style::new().dimmed();
    format!("{dim}{task} │{dim:#} {line}")
}

fn verb(phase: Phase) -> &'static str {
    match phase {
        Phase::Build => "Build",
        Phase::Deliver => "Deliver",
        Phase::Plan => "Plan",
        Phase::Apply => "Apply",
        Phase::Ready => "Ready",
        Phase::Smoke => "Smoke",
        Phase::Delete => "Delete",
        Phase::Forward => "Forward",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(event: Event, detail: Detail) -> Vec<String> {
        lines(&event, detail)
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect()
    }

    fn finished(outcome: TaskOutcome) -> Event {
        Event::TaskFinished {
            phase: Phase::Build,
            task: "web".into(),
            outcome,
            detail: String::new(),
            elapsed: Duration::from_millis(1200),
        }
    }

    #[test]
    fn what_did_something_gets_a_line() {
        assert_eq!(
            shown(finished(TaskOutcome::Done), Detail::Normal),
            ["    Build  web  1.2 s"]
        );
        assert_eq!(
            shown(finished(TaskOutcome::Failed), Detail::Normal),
            ["    Build  web failed"]
        );
        assert!(shown(finished(TaskOutcome::Unchanged), Detail::Normal).is_empty());
        assert_eq!(
            shown(finished(TaskOutcome::Unchanged), Detail::Verbose),
            ["    Build  web"]
        );
        assert!(shown(finished(TaskOutcome::Done), Detail::Quiet).is_empty());
    }

    #[test]
    fn a_running_task_gets_a_line_when_it_has_been_silent() {
        let lines = Lines::new(Detail::Normal);
        assert!(
            !lines.is_due(Phase::Ready, "web", "0/1"),
            "the first message starts the clock"
        );
        assert!(!lines.is_due(Phase::Ready, "web", "1/1"), "too soon");
        let long_ago = Instant::now() - PROGRESS_EVERY;
        lines
            .shown
            .lock()
            .unwrap()
            .insert((Phase::Ready, "web".into()), (long_ago, "0/1".into()));
        assert!(!lines.is_due(Phase::Ready, "web", "0/1"), "nothing new");
        assert!(lines.is_due(Phase::Ready, "web", "1/1"));
    }
}
