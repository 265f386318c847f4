//! The handle that engines measure with: `let _compiling = timings.span("birthday", Step::Compile);`

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Step;
use super::cargo::Unit;
use super::run::{Run, Span, SpanId};

/// Takes times while a command runs. Clones share what they took; one that is off costs nothing.
#[derive(Clone, Default)]
pub struct Timings(Option<Arc<Shared>>);

/// A span that has not ended: it does so when it is dropped.
#[must_use = "dropped at once, it measures nothing"]
pub struct Running {
    shared: Option<Arc<Shared>>,
    span: Span,
}

struct Shared {
    start: Instant,
    next: AtomicUsize,
    spans: Mutex<Vec<Span>>,
}

impl Timings {
    /// One that measures, from now on.
    #[must_use]
    pub fn start() -> Self {
        Self(Some(Arc::new(Shared {
            start: Instant::now(),
            next: AtomicUsize::new(0),
            spans: Mutex::default(),
        })))
    }

    /// One that does not.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0
            .as_ref()
            .map_or(Duration::ZERO, |shared| shared.start.elapsed())
    }

    /// Work for one service begins.
    pub fn span(&self, service: &str, step: Step) -> Running {
        self.running(self.0.as_ref().map(|_| service.to_owned()), step)
    }

    /// Work for all services together begins.
    pub fn common(&self, step: Step) -> Running {
        self.running(None, step)
    }

    /// What cargo compiled; `begun` is when it was started, on the clock of [`now`](Self::now).
    pub fn add_units(&self, begun: Duration, units: Vec<Unit>) {
        let Some(shared) = &self.0 else { return };
        let spans: Vec<Span> = units
            .into_iter()
            .map(|unit| Span {
                id: shared.id(),
                service: None,
                step: Step::Compile,
                unit: Some(unit.to_string()),
                start: begun + unit.start,
                end: begun + unit.end,
            })
            .collect();
        shared.lock().extend(spans);
    }

    /// Everything that has ended, until now. `None` from one that is off.
    #[must_use]
    pub fn run(&self) -> Option<Run> {
        let shared = self.0.as_ref()?;
        let total = shared.start.elapsed();
        Some(Run::new(shared.lock().clone(), total))
    }

    fn running(&self, service: Option<String>, step: Step) -> Running {
        let start = self.now();
        Running {
            span: Span {
                id: self.0.as_ref().map_or(SpanId(0), |shared| shared.id()),
                service,
                step,
                unit: None,
                start,
                end: start,
            },
            shared: self.0.clone(),
        }
    }
}

impl Running {
    /// It is work on one of several things: a package, a layer.
    pub fn unit(mut self, name: impl Into<String>) -> Self {
        if self.shared.is_some() {
            self.span.unit = Some(name.into());
        }
        self
    }

    /// It ends here.
    pub fn end(self) {}
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let mut span = self.span.clone();
            span.end = shared.start.elapsed();
            shared.lock().push(span);
        }
    }
}

impl Shared {
    fn id(&self) -> SpanId {
        SpanId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.0.is_some() { "on" } else { "off" };
        write!(f, "Timings({state})")
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.span.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn spans_are_taken_across_tasks() {
        let timings = Timings::start();
        timings.common(Step::Inputs).end();
        let tasks: Vec<_> = ["a", "b"]
            .into_iter()
            .map(|service| {
                let timings = timings.clone();
                tokio::spawn(async move {
                    let compiling = timings.span(service, Step::Compile);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    drop(compiling);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let run = timings.run().unwrap();
        assert_eq!(run.spans.len(), 3);
        let compiled: Vec<&Span> = run
            .spans
            .iter()
            .filter(|span| span.step == Step::Compile)
            .collect();
        for span in &compiled {
            assert!(span.time() >= Duration::from_millis(20) && span.end <= run.total);
        }
        assert_ne!(compiled[0].id, compiled[1].id);
    }

    #[test]
    fn one_that_is_off_takes_nothing() {
        let timings = Timings::off();
        drop(timings.span("a", Step::Push).unit("layer"));
        assert!(timings.run().is_none());
        assert_eq!(timings.now(), Duration::ZERO);
    }

    #[test]
    fn units_of_cargo_begin_when_it_did() {
        let timings = Timings::start();
        let second = Duration::from_secs(1);
        timings.add_units(
            second,
            vec![Unit {
                package: "serde".into(),
                version: "1.0.2".into(),
                kind: None,
                start: second,
                end: 2 * second,
            }],
        );
        let span = timings.run().unwrap().spans.remove(0);
        assert_eq!((span.start, span.end), (2 * second, 3 * second));
        assert_eq!(span.unit.as_deref(), Some("serde 1.0.2"));
    }
}
