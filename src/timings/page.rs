//! The times of a run as one page of HTML that needs nothing else: no script, no network. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::chart::{Bar, Chart};
use super::markup::{Escaped, put, show};
use super::run::{Run, Span, SpanId};

/// How the page looks.
const STYLE: &str = include_str!("page.css");
/// Rows of the table of units; the chart has them all.
const UNITS: usize = 50;

/// A page about one run.
#[derive(Debug)]
pub struct Page<'a> {
    /// What ran: `stackctl up staging`.
    pub title: &'a str,
    /// When.
    pub started: Timestamp,
    /// Names and values of what else is worth knowing: versions, processors.
    pub facts: &'a [(&'a str, String)],
    /// What was measured.
    pub run: &'a Run,
}

impl Page<'_> {
    /// The page: the same run gives the same bytes.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut page = String::new();
        self.head(&mut page);
        self.figures(&mut page);
        let units: Vec<&Span> = self.run.units().collect();
        if self.run.spans.is_empty() {
            page.push_str("<p>Nothing was measured.</p>");
        } else {
            self.services(&mut page);
            self.critical_path(&mut page);
            self.table(&mut page);
        }
        if !units.is_empty() {
            self.concurrency(&mut page, &units);
            self.units(&mut page, &units);
        }
        page.push_str("</main>\n</body>\n</html>\n");
        page
    }

    fn head(&self, page: &mut String) {
        let title = Escaped(self.title);
        let total = show(self.run.total);
        put!(
            page,
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title} · {total}</title>
<style>
{STYLE}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="soft">{}</p>
</header>
<main>
"#,
            self.started.strftime("%Y-%m-%d %H:%M:%S UTC")
        );
    }

    fn figures(&self, page: &mut String) {
        page.push_str("<dl class=\"figures\">\n");
        let mut figure = |name: &str, value: &str| {
            put!(
                page,
                "<div><dt>{}</dt><dd>{}</dd></div>\n",
                Escaped(name),
                Escaped(value)
            );
        };
        figure("took", &show(self.run.total));
        for share in self
            .run
            .shares()
            .iter()
            .filter(|share| share.part >= 0.01)
            .take(4)
        {
            let name = format!("{} on the critical path", share.step);
            figure(&name, &format!("{:.0} %", share.part * 100.0));
        }
        for (name, value) in self.facts {
            figure(name, value);
        }
        page.push_str("</dl>\n");
    }

    fn services(&self, page: &mut String) {
        let critical: Vec<SpanId> = self
            .run
            .critical_path()
            .iter()
            .map(|link| link.span.id)
            .collect();
        let mut spans: Vec<&Span> = self.run.steps().collect();
        spans.sort_by_key(|span| (span.service.as_deref(), span.start, span.id));
        let mut last = None;
        let bars: Vec<Bar<'_>> = spans
            .into_iter()
            .map(|span| {
                let is_first = last != Some(span.service.as_deref());
                let separated = is_first && last.is_some();
                last = Some(span.service.as_deref());
                let name = if is_first {
                    service(span).to_owned()
                } else {
                    String::new()
                };
                Bar {
                    name,
                    label: format!("{} {}", span.step, show(span.time())),
                    critical: critical.contains(&span.id),
                    separated,
                    span,
                }
            })
            .collect();
        let chart = Chart {
            id: "services-chart",
            description: "When each step of each service ran; the tables below say the same",
            total: self.run.total,
            named: true,
            class: "marked",
            line: 24.0,
        };
        put!(
            page,
            "<section>\n<h2>Services</h2>\n<p class=\"soft\"><span class=\"key\"></span>on the critical path: the run would have been shorter without it</p>\n<div class=\"scroll chart\">{}</div>\n</section>\n",
            chart.bars(&bars)
        );
    }

    fn critical_path(&self, page: &mut String) {
        page.push_str(
            "<section>\n<h2>Critical path</h2>\n<div class=\"scroll\"><table>\n<caption>What the length of the run consists of, first to last</caption>\n<thead><tr><th scope=\"col\" class=\"text\">step</th><th scope=\"col\" class=\"text\">service</th><th scope=\"col\">from</th><th scope=\"col\">time</th><th scope=\"col\">share</th></tr></thead>\n<tbody>\n",
        );
        for link in self.run.critical_path() {
            put!(
                page,
                "<tr><th scope=\"row\">{}</th><td class=\"text\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                link.span.step,
                Escaped(service(link.span)),
                show(link.from),
                show(link.time()),
                percent(link.time(), self.run.total)
            );
        }
        page.push_str("</tbody></table></div>\n</section>\n");
    }

    fn table(&self, page: &mut String) {
        let table = self.run.table();
        page.push_str(
            "<section>\n<h2>Steps</h2>\n<div class=\"scroll\"><table>\n<caption>Time per service and step; what is on the critical path is marked</caption>\n<thead><tr><th scope=\"col\">service</th>",
        );
        for step in &table.steps {
            put!(page, "<th scope=\"col\">{step}</th>");
        }
        page.push_str("</tr></thead>\n<tbody>\n");
        for row in &table.rows {
            let name = row.service.as_deref().unwrap_or(ALL);
            put!(page, "<tr><th scope=\"row\">{}</th>", Escaped(name));
            for cell in &row.cells {
                match cell {
                    Some(cell) if cell.critical => {
                        put!(page, "<td class=\"critical\">{} ◂</td>", show(cell.time))
                    }
                    Some(cell) => put!(page, "<td>{}</td>", show(cell.time)),
                    None => page.push_str("<td></td>"),
                }
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody></table></div>\n</section>\n");
    }

    fn concurrency(&self, page: &mut String, units: &[&Span]) {
        let start = units
            .iter()
            .map(|span| span.start)
            .min()
            .unwrap_or_default();
        let end = units.iter().map(|span| span.end).max().unwrap_or_default();
        let busy: Duration = units.iter().map(|span| span.time()).sum();
        let length = end.saturating_sub(start);
        let average = if length.is_zero() {
            0.0
        } else {
            busy.as_secs_f64() / length.as_secs_f64()
        };
        let chart = Chart {
            id: "concurrency-chart",
            description: "How many units ran at the same time",
            total: end,
            named: false,
            class: "plain",
            line: 0.0,
        };
        put!(
            page,
            "<section>\n<h2>At the same time</h2>\n<p class=\"soft\">{} units, {average:.1} at a time on average</p>\n<div class=\"scroll chart\">{}</div>\n</section>\n",
            units.len(),
            chart.concurrency(units)
        );
    }

    fn units(&self, page: &mut String, units: &[&Span]) {
        let bars: Vec<Bar<'_>> = units
            .iter()
            .map(|span| Bar {
                name: String::new(),
                label: format!("{} {}", unit(span), show(span.time())),
                critical: false,
                separated: false,
                span,
            })
            .collect();
        let chart = Chart {
            id: "units-chart",
            description: "When each crate was compiled; the table below names the slowest",
            // The axis of a long run would leave them no room.
            total: units.iter().map(|span| span.end).max().unwrap_or_default(),
            named: false,
            class: "plain",
            line: 18.0,
        };
        put!(
            page,
            "<section>\n<h2>Units</h2>\n<div class=\"scroll chart\">{}</div>\n",
            chart.bars(&bars)
        );
        page.push_str(
            "<h2>Slowest units</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">unit</th><th scope=\"col\">from</th><th scope=\"col\">time</th></tr></thead>\n<tbody>\n",
        );
        for span in self.run.slowest_units().into_iter().take(UNITS) {
            put!(
                page,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>\n",
                Escaped(unit(span)),
                show(span.start),
                show(span.time())
            );
        }
        page.push_str("</tbody></table></div>\n</section>\n");
    }
}

/// How the page calls what is done for all services together.
const ALL: &str = "all services";

fn service(span: &Span) -> &str {
    span.service.as_deref().unwrap_or(ALL)
}

fn unit(span: &Span) -> &str {
    span.unit.as_deref().unwrap_or_default()
}

fn percent(time: Duration, total: Duration) -> String {
    match total.is_zero() {
        true => String::new(),
        false => format!("{:.0} %", time.as_secs_f64() / total.as_secs_f64() * 100.0),
    }
}

#[cfg(test)]
mod tests;
