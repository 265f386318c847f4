//! What the services reached, as a table and as JSON.

use std::fmt;
use std::fs;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::rows::Row;
use super::{CONNECTIONS, SECONDS};
use crate::bench::times::Times;
use crate::needs::Need;
use crate::process;

/// One run of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) refused_per_second: f64,
}

/// A comparison with another row.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    pub(super) row: &'static str,
    /// The lowest share of its requests per second.
    pub(super) limit: Option<f64>,
}

/// The rows, and what could not be measured.
pub(crate) struct Report {
    machine: String,
    date: String,
    rounds: usize,
    rows: Vec<Figures>,
    missing: Option<String>,
}

struct Figures {
    name: &'static str,
    /// Medians of the rounds.
    median: Measured,
    ratios: Vec<Ratio>,
}

struct Ratio {
    of: &'static str,
    /// Requests per second, as a share.
    share: f64,
    limit: Option<f64>,
}

impl Report {
    pub(super) fn new(rounds: usize, rows: Vec<Row>) -> Result<Self> {
        let medians: Vec<(&'static str, Measured)> = rows
            .iter()
            .filter_map(|row| Some((row.name, median(&row.measured)?)))
            .collect();
        let of = |name: &str| medians.iter().find(|(other, _)| *other == name);
        let ratio = |own: Measured, beside: &Beside| {
            let (_, other) = of(beside.row)?;
            Some(Ratio {
                of: beside.row,
                share: own.per_second / other.per_second,
                limit: beside.limit,
            })
        };
        let figures = rows.iter().filter_map(|row| {
            let (_, own) = of(row.name)?;
            let ratios = row.beside.iter().filter_map(|beside| ratio(*own, beside));
            Some(Figures {
                name: row.name,
                median: *own,
                ratios: ratios.collect(),
            })
        });
        Ok(Self {
            machine: machine(),
            date: date()?,
            rounds,
            rows: figures.collect(),
            missing: None,
        })
    }

    /// A report of nothing.
    pub(super) fn missing(needs: &[Need]) -> Self {
        let nothing = Self {
            machine: machine(),
            date: String::new(),
            rounds: 0,
            rows: Vec::new(),
            missing: None,
        };
        nothing.without("services", needs)
    }

    /// The report, in which `what` lacks.
    pub(super) fn without(self, what: &str, needs: &[Need]) -> Self {
        let why = needs
            .iter()
            .map(|need| format!("{}: {}", need.name(), need.remedy()));
        let why = why.collect::<Vec<_>>().join("; ");
        Self {
            missing: Some(format!("{what} NOT MEASURED: not here: {why}")),
            ..self
        }
    }

    /// How many ratios are below their limit, of how many that have one.
    pub(crate) fn over(&self) -> (usize, usize) {
        let ratios = self.rows.iter().flat_map(|row| &row.ratios);
        let limited = ratios.filter(|ratio| ratio.limit.is_some());
        (
            limited.clone().filter(|ratio| ratio.is_below()).count(),
            limited.count(),
        )
    }

    pub(crate) fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let ratios = row.ratios.iter().map(|ratio| {
                json!({
                    "of": ratio.of, "share": ratio.share,
                    "lowest": ratio.limit, "within_limit": !ratio.is_below(),
                })
            });
            json!({
                "name": row.name,
                "per_second": row.median.per_second,
                "p50_ms": row.median.p50_ms,
                "p99_ms": row.median.p99_ms,
                "refused_per_second": row.median.refused_per_second,
                "ratios": ratios.collect::<Vec<_>>(),
            })
        });
        json!({
            "machine": self.machine, "date": self.date, "rounds": self.rounds,
            "connections": CONNECTIONS, "seconds": SECONDS,
            "rows": rows.collect::<Vec<_>>(), "not_measured": self.missing,
        })
    }
}

impl Ratio {
    fn is_below(&self) -> bool {
        self.limit.is_some_and(|limit| self.share < limit)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.missing {
            writeln!(f, "{why}")?;
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        writeln!(f, "services under load: {}, {}", self.machine, self.date)?;
        writeln!(
            f,
            "{CONNECTIONS} connections in a closed loop, {SECONDS} s a run, medians of {} runs; \
             Redis with appendfsync always, PostgreSQL with fsync; clients and servers share the machine",
            self.rounds
        )?;
        writeln!(f, "{:<34} {:>9} {:>9} {:>9}", "", "/s", "p50 ms", "p99 ms")?;
        for row in &self.rows {
            let Measured {
                per_second,
                p50_ms,
                p99_ms,
                refused_per_second,
            } = row.median;
            write!(
                f,
                "{:<34} {per_second:>9.0} {p50_ms:>9.2} {p99_ms:>9.2}",
                row.name
            )?;
            if refused_per_second > 0.0 {
                write!(f, "  and {refused_per_second:.0}/s refused")?;
            }
            for ratio in &row.ratios {
                write!(f, "  {ratio}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} × {}", self.share, self.of)?;
        match self.limit {
            Some(limit) if self.is_below() => write!(f, " BELOW {limit:.2}"),
            Some(limit) => write!(f, " (at least {limit:.2})"),
            None => Ok(()),
        }
    }
}

/// Of each figure by itself.
fn median(runs: &[Measured]) -> Option<Measured> {
    let of = |figure: fn(&Measured) -> f64| {
        let times = Times::new(runs.iter().map(figure).collect());
        times.map(|times| times.median())
    };
    Some(Measured {
        per_second: of(|run| run.per_second)?,
        p50_ms: of(|run| run.p50_ms)?,
        p99_ms: of(|run| run.p99_ms)?,
        refused_per_second: of(|run| run.refused_per_second)?,
    })
}

fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |text| text.trim_start_matches([' ', '\t', ':']));
    format!("{processors} processors, {model}")
}

fn date() -> Result<String> {
    let text = process::capture(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(per_second: f64) -> Measured {
        Measured {
            per_second,
            p50_ms: 1.0,
            p99_ms: 2.0,
            refused_per_second: 0.0,
        }
    }

    fn report(per_second: f64) -> Report {
        let row = |name, per_second, ratios| Figures {
            name,
            median: measured(per_second),
            ratios,
        };
        let ratio = Ratio {
            of: "XADD",
            share: per_second / 1000.0,
            limit: Some(0.5),
        };
        Report {
            machine: "one".to_owned(),
            date: "today".to_owned(),
            rounds: 3,
            rows: vec![
                row("XADD", 1000.0, Vec::new()),
                row("hits", per_second, vec![ratio]),
            ],
            missing: None,
        }
    }

    #[test]
    fn a_share_below_its_limit_is_over() {
        assert_eq!(report(500.0).over(), (0, 1));
        assert_eq!(report(499.0).over(), (1, 1));
        assert!(report(499.0).to_string().contains("0.50 × XADD BELOW 0.50"));
        let json = report(800.0).to_json();
        assert_eq!(json["rows"][1]["ratios"][0]["share"], 0.8);
        assert_eq!(json["rows"][1]["ratios"][0]["within_limit"], true);
    }

    #[test]
    fn medians_are_of_each_figure() {
        let runs = [measured(3.0), measured(1.0), measured(2.0)];
        assert_eq!(median(&runs), Some(measured(2.0)));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn what_lacks_is_said() {
        let report = Report::missing(&[Need::Redis]);
        assert!(
            report.to_string().contains("NOT MEASURED: not here: Redis"),
            "{report}"
        );
        assert_eq!(report.over(), (0, 0));
        let report = self::report(800.0).without("the gateway", &[Need::HaProxy]);
        let text = report.to_string();
        assert!(
            text.starts_with("the gateway NOT MEASURED: not here: HAProxy"),
            "{text}"
        );
        assert!(text.contains("XADD"), "the others are told: {text}");
    }
}
