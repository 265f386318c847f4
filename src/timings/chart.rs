//! Charts as inline SVG: bars over time, and how many things ran at once. Pure.

use std::time::Duration;

use super::markup::{Escaped, put, shorten, show};
use super::run::Span;

/// In pixels; the page shrinks it, or scrolls.
const WIDTH: f64 = 1120.0;
/// The column of names.
const NAMES: f64 = 150.0;
/// Right of the bars, for their frames.
const EDGE: f64 = 2.0;
/// Above the bars, for the times.
const AXIS: f64 = 22.0;
/// A character of the page's font at 12 pixels, generously.
const CHARACTER: f64 = 6.8;
/// Lines of the axis, at most.
const TICKS: f64 = 10.0;

/// One line of a chart.
pub(super) struct Bar<'a> {
    /// In the column of names; empty where it is that of the bar above.
    pub name: String,
    /// What is measured.
    pub span: &'a Span,
    /// Beside the bar.
    pub label: String,
    /// Whether it is on the critical path.
    pub critical: bool,
    /// Whether a line is drawn above it.
    pub separated: bool,
}

/// How a chart is drawn.
pub(super) struct Chart<'a> {
    /// Unique in the page.
    pub id: &'a str,
    /// For those who do not see it.
    pub description: &'a str,
    /// Where the axis ends.
    pub total: Duration,
    /// Whether there is a column of names.
    pub named: bool,
    /// `marked` where some bars are on the critical path, else `plain`.
    pub class: &'a str,
    /// Of one line, in pixels.
    pub line: f64,
}

impl Chart<'_> {
    /// Bars, first at the top.
    pub(super) fn bars(&self, bars: &[Bar<'_>]) -> String {
        let mut svg = String::new();
        let height = AXIS + count(bars.len()) * self.line + 4.0;
        self.open(&mut svg, height);
        self.axis(&mut svg, height);
        for (place, bar) in bars.iter().enumerate() {
            self.bar(&mut svg, AXIS + count(place) * self.line, bar);
        }
        svg.push_str("</svg>");
        svg
    }

    /// How many of `spans` ran at each time, as a filled curve.
    pub(super) fn concurrency(&self, spans: &[&Span]) -> String {
        // What is shorter than a pixel is how far apart two pipes are read.
        let levels = levels(spans, self.total.div_f64(WIDTH));
        let most = levels
            .iter()
            .map(|(_, level)| *level)
            .max()
            .unwrap_or_default()
            .max(1);
        let plot = 100.0;
        let mut svg = String::new();
        self.open(&mut svg, AXIS + plot + 4.0);
        self.axis(&mut svg, AXIS + plot);
        let y = |level: usize| AXIS + plot * (1.0 - count(level) / count(most));
        let mut path = format!("M{:.1} {:.1}", self.left(), y(0));
        for (at, level) in &levels {
            put!(&mut path, "H{:.1}V{:.1}", self.x(*at), y(*level));
        }
        put!(&mut svg, r#"<path class="load" d="{path}Z"/>"#);
        put!(
            &mut svg,
            r#"<text class="level" x="{:.1}" y="{:.1}">{most} at once</text>"#,
            self.left() + 4.0,
            y(most) + 12.0
        );
        svg.push_str("</svg>");
        svg
    }

    fn open(&self, svg: &mut String, height: f64) {
        put!(
            svg,
            r#"<svg class="{class}" role="img" aria-labelledby="{id}" viewBox="0 0 {WIDTH:.0} {height:.0}" width="{WIDTH:.0}" height="{height:.0}"><title id="{id}">{}</title>"#,
            Escaped(self.description),
            id = self.id,
            class = self.class,
        );
    }

    fn axis(&self, svg: &mut String, height: f64) {
        let step = tick(self.total);
        let mut at = Duration::ZERO;
        while at <= self.total {
            let x = self.x(at);
            put!(
                svg,
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{AXIS:.0}" y2="{height:.0}"/>"#
            );
            let text = match at.is_zero() {
                true => "0".to_owned(),
                false => tick_label(at),
            };
            // The last one would stick out.
            let anchor = if x + CHARACTER * count(text.len()) > WIDTH {
                "end"
            } else {
                "start"
            };
            put!(
                svg,
                r#"<text class="tick" x="{x:.1}" y="14" text-anchor="{anchor}">{text}</text>"#
            );
            at += step;
        }
    }

    fn bar(&self, svg: &mut String, y: f64, bar: &Bar<'_>) {
        let (from, to) = (self.x(bar.span.start), self.x(bar.span.end));
        let width = (to - from).max(1.5);
        let middle = y + self.line * 0.5 + 4.0;
        if bar.separated {
            put!(
                svg,
                r#"<line class="row" x1="0" x2="{WIDTH:.0}" y1="{y:.1}" y2="{y:.1}"/>"#
            );
        }
        if !bar.name.is_empty() {
            put!(
                svg,
                r#"<text class="name" x="0" y="{middle:.1}">{}</text>"#,
                Escaped(&shorten(&bar.name, 20))
            );
        }
        let critical = if bar.critical { " critical" } else { "" };
        put!(
            svg,
            r#"<g class="bar{critical}"><title>{}: {}, from {} to {}</title><rect class="s-{}" x="{from:.1}" y="{:.1}" width="{width:.1}" height="{:.1}" rx="2"/>"#,
            Escaped(&full_name(bar)),
            show(bar.span.time()),
            show(bar.span.start),
            show(bar.span.end),
            bar.span.step,
            y + 2.5,
            self.line - 5.0,
        );
        let (x, anchor, class) = self.label_place(&bar.label, from, from + width);
        put!(
            svg,
            r#"<text class="{class}" x="{x:.1}" y="{middle:.1}" text-anchor="{anchor}">{}</text></g>"#,
            Escaped(&bar.label)
        );
    }

    /// Behind the bar, else before it, else inside.
    fn label_place(&self, label: &str, from: f64, to: f64) -> (f64, &'static str, &'static str) {
        let length = CHARACTER * count(label.chars().count()) + 6.0;
        if to + length <= WIDTH {
            (to + 5.0, "start", "label")
        } else if from - length >= self.left() {
            (from - 5.0, "end", "label")
        } else {
            (from + 6.0, "start", "label inside")
        }
    }

    fn left(&self) -> f64 {
        if self.named { NAMES } else { 0.0 }
    }

    fn x(&self, at: Duration) -> f64 {
        let total = self.total.as_secs_f64();
        let part = if total > 0.0 {
            at.as_secs_f64() / total
        } else {
            0.0
        };
        self.left() + part.min(1.0) * (WIDTH - EDGE - self.left())
    }
}

/// From when on how many run, in order, without levels that are `shortest` or less.
fn levels(spans: &[&Span], shortest: Duration) -> Vec<(Duration, usize)> {
    let starts = spans.iter().map(|span| (span.start, true));
    let ends = spans.iter().map(|span| (span.end, false));
    let mut edges: Vec<(Duration, bool)> = starts.chain(ends).collect();
    // Starts first, so that none ends before it began.
    edges.sort_unstable_by_key(|(at, is_start)| (*at, !is_start));
    let mut levels: Vec<(Duration, usize)> = Vec::new();
    let mut level = 0_usize;
    for (at, is_start) in edges {
        level = if is_start {
            level + 1
        } else {
            level.saturating_sub(1)
        };
        match levels.last_mut() {
            Some(last) if at - last.0 <= shortest => last.1 = level,
            _ => levels.push((at, level)),
        }
    }
    levels
}

fn full_name(bar: &Bar<'_>) -> String {
    let who = bar.span.service.as_deref().unwrap_or("all services");
    match &bar.span.unit {
        Some(unit) => format!("{unit} ({})", bar.span.step),
        None => format!("{who}, {}", bar.span.step),
    }
}

/// 1, 2 or 5 times a power of ten, so that there are few lines; whole minutes where it is long.
fn tick(total: Duration) -> Duration {
    let wanted = total.as_secs_f64() / TICKS;
    let seconds = [60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0]
        .into_iter()
        .find(|step| wanted > 20.0 && *step >= wanted)
        .unwrap_or_else(|| {
            let power = 10_f64.powf(wanted.max(1e-4).log10().floor());
            [1.0, 2.0, 5.0, 10.0]
                .map(|factor| factor * power)
                .into_iter()
                .find(|step| *step >= wanted)
                .unwrap_or(power * 10.0)
        });
    Duration::from_secs_f64(seconds)
}

fn tick_label(at: Duration) -> String {
    let milliseconds = at.as_secs_f64() * 1000.0;
    if milliseconds.round() < 1000.0 {
        format!("{milliseconds:.0} ms")
    } else if at.as_secs() >= 120 && at.as_secs().is_multiple_of(60) {
        format!("{} min", at.as_secs() / 60)
    } else {
        let text = format!("{:.1}", at.as_secs_f64());
        format!("{} s", text.trim_end_matches(".0"))
    }
}

/// Counts here are of lines and characters: far below what a float tells apart.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::super::run::tests::{ms, span};
    use super::*;

    #[test]
    fn axes_have_few_round_lines() {
        for (total, step) in [
            (87, 10),
            (1000, 100),
            (10_100, 2000),
            (60_000, 10_000),
            (590_000, 60_000),
        ] {
            assert_eq!(tick(ms(total)), ms(step), "{total}");
        }
        for (at, text) in [
            (20, "20 ms"),
            (1000, "1 s"),
            (1500, "1.5 s"),
            (60_000, "60 s"),
            (180_000, "3 min"),
        ] {
            assert_eq!(tick_label(ms(at)), text);
        }
        assert!(tick(Duration::ZERO) > Duration::ZERO);
        assert!(tick(Duration::from_secs(1_000_000)) > Duration::from_secs(10_000));
    }

    #[test]
    fn what_runs_at_once_is_counted() {
        let spans = [
            span(0, "", Step::Compile, (0, 10)),
            span(1, "", Step::Compile, (5, 10)),
            span(2, "", Step::Compile, (10, 20)),
            span(3, "", Step::Compile, (30, 30)),
        ];
        let spans: Vec<&Span> = spans.iter().collect();
        assert_eq!(
            levels(&spans, Duration::ZERO),
            [
                (ms(0), 1),
                (ms(5), 2),
                (ms(10), 1),
                (ms(20), 0),
                (ms(30), 0)
            ]
        );
        assert_eq!(
            levels(&spans, ms(5)),
            [(ms(0), 2), (ms(10), 1), (ms(20), 0), (ms(30), 0)]
        );
    }

    #[test]
    fn labels_stay_inside_the_chart() {
        let chart = Chart {
            id: "x",
            description: "",
            total: ms(100),
            named: true,
            class: "",
            line: 20.0,
        };
        assert_eq!(chart.label_place("short", 150.0, 300.0).1, "start");
        assert_eq!(chart.label_place("short", 900.0, 1115.0).1, "end");
        assert_eq!(chart.label_place("short", 152.0, 1115.0).2, "label inside");
    }
}
