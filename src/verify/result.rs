//! What came out of a run, as data.

use std::time::Duration;

use super::assert::Failure;
use crate::diagnostic::{Code, Diagnostic, Exit, Explain, Span};
use crate::stack::ServiceName;

/// A check did not pass within its file's deadline.
const CHECK_FAILED: Code = Code::new("S0910");

/// The results of all files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmokeReport {
    /// By service.
    pub suites: Vec<SuiteReport>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

/// The results of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuiteReport {
    /// The service.
    pub service: ServiceName,
    /// In the order of the file.
    pub checks: Vec<CheckReport>,
    /// All checks with their retries.
    pub elapsed: Duration,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// What it proves.
    pub name: String,
    /// Where it is written.
    pub span: Span,
    /// Such as `GET /hello/abc`; empty where it was skipped.
    pub request: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How often the request was sent.
    pub attempts: u32,
    /// All attempts and the pauses between them.
    pub elapsed: Duration,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer was right.
    Passed {
        /// How long the last request took.
        answered_in: Duration,
    },
    /// The last attempt's failures, at least one.
    Failed {
        /// What was not met.
        failures: Vec<Failure>,
        /// The last answer's body, shortened; where there was an answer.
        body: Option<String>,
    },
    /// It did not run.
    Skipped {
        /// Why.
        reason: String,
    },
}

impl SmokeReport {
    /// All checks with their services.
    pub fn checks(&self) -> impl Iterator<Item = (&ServiceName, &CheckReport)> {
        self.suites.iter().flat_map(|suite| {
            suite
                .checks
                .iter()
                .map(move |check| (&suite.service, check))
        })
    }

    /// How many checks passed, failed and were skipped.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        self.checks().fold(
            (0, 0, 0),
            |(passed, failed, skipped), (_, check)| match check.outcome {
                Outcome::Passed { .. } => (passed + 1, failed, skipped),
                Outcome::Failed { .. } => (passed, failed + 1, skipped),
                Outcome::Skipped { .. } => (passed, failed, skipped + 1),
            },
        )
    }

    /// Such as `13 passed, 1 failed, 2 skipped`.
    #[must_use]
    pub fn summary(&self) -> String {
        let (passed, failed, skipped) = self.counts();
        let mut summary = format!("{passed} passed");
        for (count, what) in [(failed, "failed"), (skipped, "skipped")] {
            if count > 0 {
                summary.push_str(&format!(", {count} {what}"));
            }
        }
        summary
    }

    /// `Err` where a check failed.
    pub fn into_result(self) -> Result<Self, SmokeFailed> {
        match self.counts() {
            (_, 0, _) => Ok(self),
            _ => Err(SmokeFailed(self)),
        }
    }
}

/// At least one check failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("smoke tests failed: {}", .0.summary())]
pub struct SmokeFailed(pub SmokeReport);

impl Explain for SmokeFailed {
    fn exit(&self) -> Exit {
        Exit::SmokeFailed
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        for suite in &self.0.suites {
            let skipped = suite
                .checks
                .iter()
                .skip_while(|check| !matches!(check.outcome, Outcome::Failed { .. }))
                .filter(|check| matches!(check.outcome, Outcome::Skipped { .. }))
                .count();
            for check in &suite.checks {
                let Outcome::Failed { failures, body } = &check.outcome else {
                    continue;
                };
                let mut problem = failed(&suite.service, check, failures);
                if let Some(body) = body {
                    problem = problem.note(format!("the body of the answer: {body}"));
                }
                if skipped > 0 {
                    let checks = if skipped == 1 { "check" } else { "checks" };
                    problem = problem.note(format!("{skipped} {checks} after it did not run"));
                }
                problems.push(problem);
            }
        }
        problems
    }
}

fn failed(service: &ServiceName, check: &CheckReport, failures: &[Failure]) -> Diagnostic {
    let message = format!("{service}: the check `{}` failed", check.name);
    let mut problem = Diagnostic::error(CHECK_FAILED, message);
    for failure in failures {
        let Failure {
            span,
            subject,
            expected,
            actual,
        } = failure;
        problem = problem.at(
            span,
            format!("{subject}: expected {expected}, got {actual}"),
        );
    }
    let attempts = if check.attempts == 1 {
        "1 attempt".to_owned()
    } else {
        format!("{} attempts", check.attempts)
    };
    problem.note(format!(
        "{} ({attempts} in {:.1} s)",
        check.request,
        check.elapsed.as_secs_f64()
    ))
}
