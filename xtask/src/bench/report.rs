//! What was measured, as a table and as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::times::{Times, ms};

/// Rows in the order of their measurement.
pub(super) struct Report {
    runs: usize,
    edits: usize,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    limit: Option<Duration>,
    /// Or why there are none.
    times: Result<Times, String>,
}

impl Report {
    pub(super) fn new(runs: usize, edits: usize) -> Self {
        Self {
            runs,
            edits,
            rows: Vec::new(),
        }
    }

    /// A row; without a limit it is one to compare with.
    pub(super) fn add(&mut self, name: &str, limit: Option<Duration>, times: Times) {
        self.push(name, limit, Ok(times));
    }

    /// A row that this machine cannot measure.
    pub(super) fn add_missing(&mut self, name: &str, limit: Option<Duration>, why: &str) {
        self.push(name, limit, Err(why.to_owned()));
    }

    fn push(&mut self, name: &str, limit: Option<Duration>, times: Result<Times, String>) {
        self.rows.push(Row {
            name: name.to_owned(),
            limit,
            times,
        });
    }

    /// How many medians are over their limit, of how many that have one.
    pub(super) fn over(&self) -> (usize, usize) {
        let limited = |row: &&Row| row.limit.is_some() && row.times.is_ok();
        let over = self.rows.iter().filter(|row| row.is_over()).count();
        (over, self.rows.iter().filter(limited).count())
    }

    /// The shape of `--json`; `version` grows when a key changes its meaning.
    pub(super) fn to_json(&self) -> Value {
        let floor = self.floor();
        let entries = |limited: bool| -> Vec<Value> {
            let rows = self.rows.iter();
            rows.filter(|row| row.limit.is_some() == limited)
                .filter_map(|row| row.to_json(floor))
                .collect()
        };
        let missing = |row: &Row| {
            let why = row.times.as_ref().err()?;
            Some(json!({ "name": row.name, "limit_ms": row.limit.map(ms), "reason": why }))
        };
        json!({
            "version": 1,
            "runs": self.runs,
            "edits": self.edits,
            "benches": entries(true),
            "peers": entries(false),
            "not_measured": self.rows.iter().filter_map(missing).collect::<Vec<_>>(),
        })
    }

    /// What starting any process costs: the median of `true`, in milliseconds.
    fn floor(&self) -> f64 {
        let row = self.rows.iter().find(|row| row.name == "true");
        let times = row.and_then(|row| row.times.as_ref().ok());
        times.map_or(f64::NAN, Times::median)
    }
}

impl Row {
    fn is_over(&self) -> bool {
        match (&self.times, self.limit) {
            (Ok(times), Some(limit)) => times.median() > ms(limit),
            _ => false,
        }
    }

    fn to_json(&self, floor: f64) -> Option<Value> {
        let times = self.times.as_ref().ok()?;
        Some(json!({
            "name": self.name,
            "median_ms": times.median(),
            "min_ms": times.min(),
            "max_ms": times.max(),
            "limit_ms": self.limit.map(ms),
            "within_limit": self.limit.map(|_| !self.is_over()),
            "times_floor": times.median() / floor,
        }))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let floor = self.floor();
        writeln!(
            f,
            "{} runs of each command, {} edits; in milliseconds",
            self.runs, self.edits
        )?;
        writeln!(
            f,
            "{:<52} {:>9} {:>9} {:>9} {:>6} {:>8}",
            "", "median", "min", "max", "limit", "× `true`"
        )?;
        for row in &self.rows {
            let limit = row
                .limit
                .map_or_else(String::new, |limit| format!("{:.0}", ms(limit)));
            match &row.times {
                Ok(times) => writeln!(
                    f,
                    "{:<52} {:>9.2} {:>9.2} {:>9.2} {limit:>6} {:>8.1}{}",
                    row.name,
                    times.median(),
                    times.min(),
                    times.max(),
                    times.median() / floor,
                    if row.is_over() { "  OVER" } else { "" },
                )?,
                Err(why) => writeln!(f, "{:<52} NOT MEASURED: {why}", row.name)?,
            }
        }
        let missing = self.rows.iter().filter(|row| row.times.is_err()).count();
        match missing {
            0 => Ok(()),
            missing => writeln!(f, "NOT MEASURED: {missing} of {}", self.rows.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(millis: &[f64]) -> Times {
        Times::new(millis.to_vec()).expect("there are some")
    }

    fn report() -> Report {
        let limit = Some(Duration::from_millis(10));
        let mut report = Report::new(3, 1);
        report.add("ours", limit, times(&[8.0, 12.0, 30.0]));
        report.add("true", None, times(&[1.0, 2.0, 3.0]));
        report.add_missing("pushed", limit, "no registry");
        report
    }

    #[test]
    fn the_report_has_medians_limits_and_ratios() {
        let json = report().to_json();
        assert_eq!(json["version"], 1);
        let bench = &json["benches"][0];
        assert_eq!(bench["median_ms"], 12.0);
        assert_eq!(bench["within_limit"], false);
        assert_eq!(bench["times_floor"], 6.0);
        assert_eq!(json["peers"][0]["limit_ms"], Value::Null);
        assert_eq!(report().over(), (1, 1));
    }

    #[test]
    fn what_is_not_measured_is_said() {
        let missing = json!([{ "name": "pushed", "limit_ms": 10.0, "reason": "no registry" }]);
        assert_eq!(report().to_json()["not_measured"], missing);
        let table = report().to_string();
        assert!(table.contains("NOT MEASURED: no registry"), "{table}");
        assert!(table.ends_with("NOT MEASURED: 1 of 3\n"), "{table}");
    }
}
