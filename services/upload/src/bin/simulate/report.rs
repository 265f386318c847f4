//! What is said at the end: a table, or the same as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::load::{Outcome, Plan};

/// The figures of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// Of this shape; it changes when a field changes its meaning or goes away.
    version: u32,
    uploads: usize,
    clients: usize,
    seconds: f64,
    /// That were accepted.
    uploads_per_second: f64,
    accepted: usize,
    /// By reason; each upload may have been refused many times.
    refused: BTreeMap<String, usize>,
    gave_up: usize,
    done: usize,
    failed: usize,
    lost: usize,
    answer_seconds: Percentiles,
}

/// Of the time from sending an upload to the answer that it is accepted.
#[derive(Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Report {
    pub(crate) fn of(plan: &Plan, mut outcome: Outcome) -> Self {
        outcome.answers.sort_unstable();
        let accepted = outcome.answers.len();
        let seconds = outcome.took.as_secs_f64();
        Self {
            version: 1,
            uploads: plan.uploads,
            clients: plan.clients,
            seconds,
            uploads_per_second: accepted as f64 / seconds,
            accepted,
            refused: outcome.refused,
            gave_up: outcome.gave_up,
            done: outcome.done,
            failed: outcome.failed,
            lost: outcome.lost,
            answer_seconds: Percentiles {
                p50: percentile(&outcome.answers, 50),
                p99: percentile(&outcome.answers, 99),
            },
        }
    }

    /// Whether something was accepted, and all of it was done.
    pub(crate) fn is_success(&self) -> bool {
        self.accepted > 0 && self.done == self.accepted
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts")
    }
}

/// The smallest of the sorted values that `percent` of them do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).map_or(0.0, Duration::as_secs_f64)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            uploads,
            clients,
            seconds,
            uploads_per_second,
            ..
        } = self;
        writeln!(f, "uploads  {uploads:>8}  by {clients} clients")?;
        writeln!(
            f,
            "accepted {:>8}  in {seconds:.1} s, {uploads_per_second:.0} per second",
            self.accepted
        )?;
        let reasons: Vec<String> = self
            .refused
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let refused: usize = self.refused.values().sum();
        writeln!(f, "refused  {refused:>8}  {}", reasons.join(", "))?;
        writeln!(f, "gave up  {:>8}", self.gave_up)?;
        writeln!(f, "done     {:>8}", self.done)?;
        writeln!(f, "failed   {:>8}", self.failed)?;
        writeln!(f, "lost     {:>8}", self.lost)?;
        let Percentiles { p50, p99 } = &self.answer_seconds;
        let (p50, p99) = (p50 * 1000.0, p99 * 1000.0);
        write!(f, "answer   p50 {p50:.1} ms, p99 {p99:.1} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let hundred: Vec<Duration> = (1..=100).map(Duration::from_secs).collect();
        assert_eq!(percentile(&hundred, 50), 50.0);
        assert_eq!(percentile(&hundred, 99), 99.0);
        assert_eq!(percentile(&hundred[..1], 99), 1.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }

    #[test]
    fn nothing_accepted_is_no_success() {
        let plan = Plan {
            uploads: 3,
            clients: 1,
            patience: Duration::from_secs(1),
        };
        assert!(!Report::of(&plan, Outcome::default()).is_success());
        let lost = Outcome {
            answers: vec![Duration::ZERO; 3],
            done: 2,
            lost: 1,
            ..Outcome::default()
        };
        assert!(!Report::of(&plan, lost).is_success());
    }
}
