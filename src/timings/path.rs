//! The critical path: which work a run's length consists of.

use std::time::Duration;

use super::run::Span;

/// A span on the critical path, and the part of it that nothing before it on the path covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// The span.
    pub span: &'a Span,
    /// From when it was what the run waited for.
    pub from: Duration,
    /// Until when.
    pub to: Duration,
}

impl Link<'_> {
    /// How long the run waited for it.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// Walks back from what ended last. Spans of units detail others, and are not looked at.
pub(super) fn critical(spans: &[Span]) -> Vec<Link<'_>> {
    let spans: Vec<&Span> = spans.iter().filter(|span| span.unit.is_none()).collect();
    let mut path = Vec::new();
    let mut next = latest(spans.iter().copied());
    while let Some(span) = next {
        let before = spans.iter().copied();
        next = latest(before.filter(|other| may_precede(other, span)));
        let from = next.map_or(span.start, |before| {
            before.end.max(span.start).min(span.end)
        });
        path.push(Link {
            span,
            from,
            to: span.end,
        });
    }
    path.reverse();
    path
}

/// Whether `span` may have waited for `other`, as far as times and services tell.
fn may_precede(other: &Span, span: &Span) -> bool {
    let related =
        other.service == span.service || other.service.is_none() || span.service.is_none();
    // Spans without length at one moment: the earlier name counts.
    related && other.end <= span.start && (other.start, other.id) < (span.start, span.id)
}

fn latest<'a>(spans: impl Iterator<Item = &'a Span>) -> Option<&'a Span> {
    spans.max_by_key(|span| (span.end, span.start, span.id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Step;
    use super::super::run::Run;
    use super::super::run::tests::{example, ms, span};
    use super::*;

    fn shown(run: &Run) -> Vec<String> {
        run.critical_path()
            .iter()
            .map(|link| {
                let service = link.span.service.as_deref().unwrap_or("all");
                format!("{service} {} {}", link.span.step, link.time().as_millis())
            })
            .collect()
    }

    #[test]
    fn the_path_leads_from_the_first_step_to_the_last() {
        assert_eq!(
            shown(&example()),
            [
                "all inputs 100",
                "all compile 5000",
                "b assemble 200",
                "b push 1200",
                "b ready 3500",
            ]
        );
    }

    #[test]
    fn other_services_do_not_hold_one_up() {
        let spans = vec![
            span(0, "db", Step::Ready, (0, 900)),
            span(1, "a", Step::Compile, (0, 300)),
            span(2, "a", Step::Ready, (900, 1000)),
        ];
        assert_eq!(
            shown(&Run::new(spans, ms(1000))),
            ["a compile 300", "a ready 100"]
        );
    }

    proptest! {
        #[test]
        fn a_path_is_no_longer_than_the_run(
            times in prop::collection::vec((0u64..50, 0u64..50, 0usize..3), 0..9)
        ) {
            let spans: Vec<Span> = times
                .iter()
                .enumerate()
                .map(|(id, (start, length, service))| {
                    span(id, ["", "a", "b"][*service], Step::Push, (*start, start + length))
                })
                .collect();
            let run = Run::new(spans, ms(100));
            let path = run.critical_path();
            prop_assert_eq!(path.is_empty(), times.is_empty());
            let end = run.spans.iter().map(|span| span.end).max().unwrap_or_default();
            prop_assert_eq!(path.last().map_or(Duration::ZERO, |link| link.to), end);
            let sum: Duration = path.iter().map(Link::time).sum();
            prop_assert!(sum <= end, "{:?}", path);
        }
    }
}
