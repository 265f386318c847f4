//! The times of one run of the program, as values.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Step;
use super::path::{self, Link};

/// Names a span of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub(crate) usize);

/// Some work, from when to when; times count from the start of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its name.
    pub id: SpanId,
    /// For whom; `None` for all.
    pub service: Option<String>,
    /// What kind of work.
    pub step: Step,
    /// One of several things that were worked on: a crate, a layer. Such spans detail others.
    pub unit: Option<String>,
    /// When it began.
    pub start: Duration,
    /// When it ended.
    pub end: Duration,
}

/// What a run took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Sorted by when they began.
    pub spans: Vec<Span>,
    /// From start to end.
    pub total: Duration,
}

/// How much of the critical path a step is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The step.
    pub step: Step,
    /// Its time on the path.
    pub time: Duration,
    /// 0 to 1, of the path's whole length.
    pub part: f64,
}

/// Times by service and step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The columns: steps that occur, in the order of `up`.
    pub steps: Vec<Step>,
    /// The rows: first what was done for all, then services by name.
    pub rows: Vec<Row>,
}

/// One row of a [`Table`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `None` for what was done for all.
    pub service: Option<String>,
    /// One a column; `None` where there was no such step.
    pub cells: Vec<Option<Cell>>,
}

/// One cell of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// While at least one such span ran.
    pub time: Duration,
    /// Whether the run would have been shorter without it.
    pub critical: bool,
}

impl Span {
    /// How long it took.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }
}

impl Run {
    /// Of these spans, in any order.
    #[must_use]
    pub fn new(mut spans: Vec<Span>, total: Duration) -> Self {
        spans.sort_by_key(|span| (span.start, span.id));
        Self { spans, total }
    }

    /// What the run's length consists of, first to last: each span ended as the next one could begin.
    #[must_use]
    pub fn critical_path(&self) -> Vec<Link<'_>> {
        path::critical(&self.spans)
    }

    /// The steps of the critical path, the longest first.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        let path = self.critical_path();
        let length = match (path.first(), path.last()) {
            (Some(first), Some(last)) => last.to.saturating_sub(first.from),
            _ => Duration::ZERO,
        };
        let mut times: BTreeMap<Step, Duration> = BTreeMap::new();
        for link in &path {
            *times.entry(link.span.step).or_default() += link.time();
        }
        let mut shares: Vec<Share> = times
            .into_iter()
            .map(|(step, time)| Share {
                step,
                time,
                part: match length.is_zero() {
                    true => 0.0,
                    false => time.as_secs_f64() / length.as_secs_f64(),
                },
            })
            .collect();
        shares.sort_by_key(|share| std::cmp::Reverse(share.time));
        shares
    }

    /// `compile 54 % · ready 28 % of the critical path`; empty where no step weighs much.
    #[must_use]
    pub fn summary(&self) -> String {
        let shares = self.shares();
        let parts: Vec<String> = shares
            .iter()
            .filter(|share| share.part >= 0.05)
            .take(2)
            .map(|share| format!("{} {:.0} %", share.step, share.part * 100.0))
            .collect();
        match parts.is_empty() {
            true => String::new(),
            false => format!("{} of the critical path", parts.join(" · ")),
        }
    }

    /// Times by service and step, without those of single units.
    #[must_use]
    pub fn table(&self) -> Table {
        type Intervals = Vec<(Duration, Duration)>;
        let mut found: BTreeMap<Option<&str>, BTreeMap<Step, (Intervals, bool)>> = BTreeMap::new();
        let critical: Vec<SpanId> = self
            .critical_path()
            .iter()
            .map(|link| link.span.id)
            .collect();
        for span in self.steps() {
            let row = found.entry(span.service.as_deref()).or_default();
            let (intervals, is_critical) = row.entry(span.step).or_default();
            intervals.push((span.start, span.end));
            *is_critical |= critical.contains(&span.id);
        }
        let mut steps: Vec<Step> = found.values().flat_map(BTreeMap::keys).copied().collect();
        steps.sort_unstable();
        steps.dedup();
        let rows = found
            .into_iter()
            .map(|(service, mut row)| Row {
                service: service.map(str::to_owned),
                cells: steps
                    .iter()
                    .map(|step| {
                        let (intervals, critical) = row.remove(step)?;
                        let time = covered(intervals);
                        Some(Cell { time, critical })
                    })
                    .collect(),
            })
            .collect();
        Table { steps, rows }
    }

    /// Spans that are no details of others.
    pub fn steps(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| span.unit.is_none())
    }

    /// Spans of crates and other units, the longest first.
    #[must_use]
    pub fn slowest_units(&self) -> Vec<&Span> {
        let mut units: Vec<&Span> = self.units().collect();
        units.sort_by_key(|span| (std::cmp::Reverse(span.time()), span.id));
        units
    }

    /// Spans of crates and other units, by when they began.
    pub fn units(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| span.unit.is_some())
    }
}

/// How much time sorted intervals cover together.
fn covered(intervals: Vec<(Duration, Duration)>) -> Duration {
    let mut covered = Duration::ZERO;
    let mut until = Duration::ZERO;
    for (start, end) in intervals {
        covered += end.saturating_sub(start.max(until));
        until = until.max(end);
    }
    covered
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    pub(crate) fn span(id: usize, service: &str, step: Step, times: (u64, u64)) -> Span {
        Span {
            id: SpanId(id),
            service: (!service.is_empty()).then(|| service.to_owned()),
            step,
            unit: None,
            start: ms(times.0),
            end: ms(times.1),
        }
    }

    /// Two services: `a` is pushed slowly, `b` becomes ready slowly.
    pub(crate) fn example() -> Run {
        let mut unit = span(2, "", Step::Compile, (200, 4000));
        unit.unit = Some("serde 1.0.2".into());
        let ready = span(7, "b", Step::Ready, (6500, 10_000));
        Run::new(
            vec![
                ready,
                span(0, "", Step::Inputs, (0, 100)),
                span(1, "", Step::Compile, (100, 5100)),
                unit,
                span(3, "a", Step::Assemble, (5100, 5200)),
                span(4, "b", Step::Assemble, (5100, 5300)),
                span(5, "a", Step::Push, (5200, 8000)),
                span(6, "b", Step::Push, (5300, 6500)),
                span(8, "a", Step::Ready, (8000, 9000)),
            ],
            ms(10_100),
        )
    }

    #[test]
    fn the_summary_names_what_weighs_most() {
        assert_eq!(
            example().summary(),
            "compile 50 % · ready 35 % of the critical path"
        );
        let empty = Run::new(Vec::new(), ms(5));
        assert_eq!(empty.summary(), "");
        let instant = Run::new(vec![span(0, "a", Step::Plan, (5, 5))], ms(5));
        assert_eq!(instant.summary(), "");
    }

    #[test]
    fn the_table_has_a_row_a_service() {
        let table = example().table();
        assert_eq!(
            table.steps,
            [
                Step::Inputs,
                Step::Compile,
                Step::Assemble,
                Step::Push,
                Step::Ready
            ]
        );
        let rows: Vec<String> = table
            .rows
            .iter()
            .map(|row| {
                let cells = row.cells.iter().map(|cell| match cell {
                    Some(cell) => {
                        let mark = if cell.critical { "*" } else { "" };
                        format!(" {}{mark}", cell.time.as_millis())
                    }
                    None => " -".to_owned(),
                });
                format!(
                    "{}:{}",
                    row.service.as_deref().unwrap_or("all"),
                    cells.collect::<String>()
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                "all: 100* 5000* - - -",
                "a: - - 100 2800 1000",
                "b: - - 200* 1200* 3500*",
            ]
        );
    }

    #[test]
    fn what_overlaps_counts_once() {
        let run = Run::new(
            vec![
                span(0, "a", Step::Push, (0, 100)),
                span(1, "a", Step::Push, (50, 150)),
                span(2, "a", Step::Push, (60, 70)),
                span(3, "a", Step::Push, (200, 210)),
            ],
            ms(300),
        );
        assert_eq!(run.table().rows[0].cells[0].unwrap().time, ms(160));
    }
}
