//! Lines of logs → stdout, each with the pod it comes from; everything else goes on to the progress.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, EventSink};

/// Colors that can be told apart on dark and on light ground.
const COLORS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Yellow,
    AnsiColor::Blue,
    AnsiColor::Red,
];

/// Takes [`Event::Log`] out of the events.
pub(super) struct WithLogs {
    json: bool,
    cancel: CancellationToken,
    others: Arc<dyn EventSink>,
}

impl WithLogs {
    pub(super) fn new(json: bool, cancel: CancellationToken, others: Arc<dyn EventSink>) -> Self {
        Self {
            json,
            cancel,
            others,
        }
    }
}

impl EventSink for WithLogs {
    fn emit(&self, event: Event) {
        let Event::Log {
            service,
            pod,
            container,
            time,
            text,
        } = event
        else {
            return self.others.emit(event);
        };
        let line = if self.json {
            json!({ "service": service, "pod": pod, "container": container, "time": time, "text": text }).to_string()
        } else {
            text_line(&pod, &container, &text)
        };
        if writeln!(anstream::stdout().lock(), "{line}").is_err() {
            self.cancel.cancel();
        }
    }
}

fn text_line(pod: &str, container: &str, text: &str) -> String {
    let style = color(pod);
    format!("{style}{pod} {container} │{style:#} {text}")
}

/// The same for every line of a pod, also in another run.
fn color(pod: &str) -> Style {
    let mut hasher = DefaultHasher::new();
    pod.hash(&mut hasher);
    let index = usize::try_from(hasher.finish() % COLORS.len() as u64).unwrap_or(0);
    COLORS[index].on_default()
}
