//! Where the time of a command went, as text: services in rows, steps in columns, the critical path marked.

use crate::timings::{Cell, Run};

use super::duration;
use super::table::columns;

/// The table and the line under it.
pub(super) fn text(run: &Run) -> String {
    let table = run.table();
    let mut rows = vec![heading(
        &table
            .steps
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
    )];
    for row in table.rows {
        let name = row.service.unwrap_or_else(|| "all".to_owned());
        rows.push(
            [name]
                .into_iter()
                .chain(row.cells.into_iter().map(cell))
                .collect(),
        );
    }
    let mut text = String::new();
    for line in columns(&rows) {
        text += &line;
        text.push('\n');
    }
    let total = duration::show(run.total);
    match run.summary().as_str() {
        "" => text + &format!("{total} in all\n"),
        summary => text + &format!("{total} in all; * {summary}\n"),
    }
}

fn heading(steps: &[String]) -> Vec<String> {
    let mut heading = vec!["SERVICE".to_owned()];
    heading.extend(steps.iter().map(|step| step.to_uppercase()));
    heading
}

fn cell(cell: Option<Cell>) -> String {
    match cell {
        None => "-".to_owned(),
        Some(cell) => {
            let mark = if cell.critical { " *" } else { "" };
            format!("{}{mark}", duration::show(cell.time))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::timings::{Span, SpanId, Step};

    #[test]
    fn the_critical_path_is_marked() {
        let timings = crate::timings::Timings::start();
        drop(timings.span("a", Step::Compile));
        let mut run = timings.run().unwrap();
        let id: SpanId = run.spans[0].id;
        let span = |service: &str, step, start: u64, end: u64| Span {
            id,
            service: Some(service.to_owned()),
            step,
            unit: None,
            start: Duration::from_secs(start),
            end: Duration::from_secs(end),
        };
        run = Run::new(
            vec![span("a", Step::Compile, 0, 9)],
            Duration::from_secs(10),
        );
        assert_eq!(
            text(&run),
            "SERVICE  COMPILE\na        9.0 s *\n10.0 s in all; * compile 100 % of the critical path\n"
        );
    }
}
