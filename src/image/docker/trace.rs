//! What BuildKit says while it builds: steps that start, bytes that are pulled, lines that are written.

use std::collections::HashMap;

use bollard::moby::buildkit::v1::{StatusResponse, VertexStatus};

use crate::image::progress::Tail;

use super::dockerfile::Listener;
use super::secrets::Secrets;

/// What the engine said so far.
#[derive(Default)]
pub(super) struct Trace {
    /// Names by digest: `[2/5] RUN make`.
    names: HashMap<String, String>,
    /// The steps that were announced.
    started: HashMap<String, ()>,
    /// Lines that are not complete yet, by digest and stream.
    partial: HashMap<(String, i64), Vec<u8>>,
    tails: HashMap<String, Tail>,
    failed: Option<Failed>,
}

/// The step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    digest: String,
    /// Such as `[2/5] RUN make`.
    pub step: String,
    /// Why, in BuildKit's words.
    pub error: String,
}

impl Trace {
    /// Passes on what is new.
    pub(super) fn hear(
        &mut self,
        status: StatusResponse,
        listener: &dyn Listener,
        secrets: &Secrets,
    ) {
        for vertex in status.vertexes {
            let name = secrets.hide(&one_line(&vertex.name));
            let fresh = vertex.started.is_some()
                && !vertex.cached
                && self.started.insert(vertex.digest.clone(), ()).is_none();
            if fresh {
                listener.progress(&name);
            }
            // The first failure cancels the other steps; those say only that.
            if !vertex.error.is_empty()
                && !vertex.error.contains("context canceled")
                && self.failed.is_none()
            {
                self.failed = Some(Failed {
                    digest: vertex.digest.clone(),
                    step: name.clone(),
                    error: vertex.error,
                });
            }
            self.names.insert(vertex.digest, name);
        }
        for part in &status.statuses {
            if let Some(name) = self.names.get(&part.vertex)
                && let Some(bytes) = bytes(part)
            {
                listener.progress(&format!("{name}: {bytes}"));
            }
        }
        for log in status.logs {
            let key = (log.vertex, log.stream);
            let mut bytes = self.partial.remove(&key).unwrap_or_default();
            bytes.extend_from_slice(&log.msg);
            while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = bytes.drain(..=end).collect();
                self.line(&key.0, &line, listener, secrets);
            }
            self.partial.insert(key, bytes);
        }
    }

    /// The step that failed and its last lines; call it when the engine has said everything.
    pub(super) fn end(
        mut self,
        listener: &dyn Listener,
        secrets: &Secrets,
    ) -> (Option<Failed>, Vec<String>) {
        for ((vertex, _), bytes) in std::mem::take(&mut self.partial) {
            self.line(&vertex, &bytes, listener, secrets);
        }
        let tail = self
            .failed
            .as_ref()
            .and_then(|failed| self.tails.remove(&failed.digest));
        (self.failed, tail.unwrap_or_default().into_lines())
    }

    fn line(&mut self, vertex: &str, bytes: &[u8], listener: &dyn Listener, secrets: &Secrets) {
        let text = String::from_utf8_lossy(bytes);
        // A progress bar overwrites its line.
        let line = text.trim_end().rsplit('\r').next().unwrap_or_default();
        if line.is_empty() {
            return;
        }
        let line = secrets.hide(line);
        listener.output(&line);
        self.tails.entry(vertex.to_owned()).or_default().push(&line);
    }
}

/// `12.3 of 30.1 MB`; `None` for what is done or counts no bytes.
fn bytes(part: &VertexStatus) -> Option<String> {
    if part.total <= 0 || part.current >= part.total {
        return None;
    }
    let megabytes = |bytes: i64| bytes as f64 / 1e6;
    Some(format!(
        "{:.1} of {:.1} MB",
        megabytes(part.current),
        megabytes(part.total)
    ))
}

fn one_line(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use bollard::moby::buildkit::v1::{Vertex, VertexLog};

    use super::*;
    use crate::event::{Event, Phase, Recorder};
    use crate::image::progress::Task;

    fn vertex(digest: &str, name: &str, error: &str) -> Vertex {
        Vertex {
            digest: digest.to_owned(),
            name: name.to_owned(),
            started: Some(Default::default()),
            error: error.to_owned(),
            ..Vertex::default()
        }
    }

    fn log(vertex: &str, text: &str) -> VertexLog {
        VertexLog {
            vertex: vertex.to_owned(),
            stream: 1,
            msg: text.as_bytes().to_vec(),
            ..VertexLog::default()
        }
    }

    #[test]
    fn steps_lines_and_the_first_failure_are_heard() {
        let events = Recorder::default();
        let task = Task::start(&events, Phase::Build, "web");
        let secrets = Secrets::of(&[("token", "s3cret")]);
        let mut trace = Trace::default();
        let status = |vertexes: Vec<Vertex>, logs: Vec<VertexLog>| StatusResponse {
            vertexes,
            logs,
            ..StatusResponse::default()
        };
        trace.hear(
            status(
                vec![
                    vertex("a", "[1/2] RUN  make", ""),
                    vertex("b", "[o 1/1] RUN x", ""),
                ],
                vec![log("a", "10%\r20%\nwith s3"), log("b", "other\n")],
            ),
            &task,
            &secrets,
        );
        let part = VertexStatus {
            vertex: "a".to_owned(),
            current: 1_500_000,
            total: 30_000_000,
            ..VertexStatus::default()
        };
        let parts = StatusResponse {
            statuses: vec![part],
            ..StatusResponse::default()
        };
        trace.hear(parts, &task, &secrets);
        trace.hear(
            status(
                vec![
                    vertex("a", "[1/2] RUN  make", "exit code: 2"),
                    vertex("b", "[o 1/1] RUN x", "context canceled"),
                ],
                vec![log("a", "cret\nno end")],
            ),
            &task,
            &secrets,
        );
        let (failed, tail) = trace.end(&task, &secrets);
        let failed = failed.unwrap();
        assert_eq!(
            (failed.step.as_str(), failed.error.as_str()),
            ("[1/2] RUN make", "exit code: 2")
        );
        assert_eq!(tail, ["20%", "with ***", "no end"]);
        let heard: Vec<String> = events
            .events()
            .into_iter()
            .filter_map(|event| match event {
                Event::TaskProgress { message, .. } => Some(message),
                Event::Output { line, .. } => Some(format!("> {line}")),
                _ => None,
            })
            .collect();
        assert_eq!(
            heard,
            [
                "[1/2] RUN make",
                "[o 1/1] RUN x",
                "> 20%",
                "> other",
                "[1/2] RUN make: 1.5 of 30.0 MB",
                "> with ***",
                "> no end",
            ]
        );
    }
}
