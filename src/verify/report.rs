//! A [`SmokeReport`] for machines; pure.

use std::fmt::Write;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use super::assert::Failure;
use super::result::{CheckReport, Outcome, SmokeReport};
use crate::stack::ServiceName;

/// JUnit XML: a suite per service, a case per check.
#[must_use]
pub fn junit(report: &SmokeReport) -> String {
    let mut document = Report::new("smoke-test");
    document.set_time(report.elapsed);
    for suite in &report.suites {
        let mut cases = TestSuite::new(suite.service.as_str());
        cases.set_time(suite.elapsed);
        for check in &suite.checks {
            cases.add_test_case(case(&suite.service, check));
        }
        document.add_test_suite(cases);
    }
    document
        .to_string()
        .expect("quick-junit writes to memory and drops what XML cannot hold")
}

fn case(service: &ServiceName, check: &CheckReport) -> TestCase {
    let status = match &check.outcome {
        Outcome::Passed { .. } => TestCaseStatus::success(),
        Outcome::Skipped { reason } => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.as_str());
            status
        }
        Outcome::Failed { failures, .. } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            let lines: Vec<String> = failures.iter().map(located).collect();
            status.set_message(lines.first().cloned().unwrap_or_default());
            status.set_type("smoke");
            let attempts = check.attempts;
            status.set_description(format!(
                "{} ({attempts} attempts)\n{}",
                check.request,
                lines.join("\n")
            ));
            status
        }
    };
    let mut case = TestCase::new(check.name.as_str(), status);
    case.set_classname(service.as_str());
    case.set_time(check.elapsed);
    case
}

fn located(failure: &Failure) -> String {
    format!("{}: {}", failure.span, told(failure))
}

fn told(failure: &Failure) -> String {
    let Failure {
        subject,
        expected,
        actual,
        ..
    } = failure;
    format!("{subject}: expected {expected}, got {actual}")
}

/// JSON, one object:
///
/// - `version`: 1; raised when a field changes its meaning or goes, not when one is added
/// - `passed`, `failed`, `skipped`: numbers of checks; `milliseconds`: of the whole run
/// - `suites`: list of `{ service, milliseconds, checks }`
/// - `checks`: list of `{ name, file, line, column, outcome, request, attempts, milliseconds }`, where
///   `outcome` is `passed` (with `answeredInMilliseconds`), `failed` (with `failures` and `body`) or
///   `skipped` (with `reason`)
/// - `failures`: list of `{ subject, expected, actual, file, line, column }`
#[must_use]
pub fn json(report: &SmokeReport) -> String {
    let (passed, failed, skipped) = report.counts();
    let suites: Vec<Value> = report
        .suites
        .iter()
        .map(|suite| {
            json!({
                "service": suite.service.as_str(),
                "milliseconds": milliseconds(suite.elapsed),
                "checks": suite.checks.iter().map(check).collect::<Vec<_>>(),
            })
        })
        .collect();
    let document = json!({
        "version": 1,
        "passed": passed,
        "failed": failed,
        "skipped": skipped,
        "milliseconds": milliseconds(report.elapsed),
        "suites": suites,
    });
    format!("{document:#}\n")
}

fn check(check: &CheckReport) -> Value {
    let mut value = json!({
        "name": check.name,
        "request": check.request,
        "attempts": check.attempts,
        "milliseconds": milliseconds(check.elapsed),
    });
    place(&mut value, &check.span);
    match &check.outcome {
        Outcome::Passed { answered_in } => {
            value["outcome"] = "passed".into();
            value["answeredInMilliseconds"] = milliseconds(*answered_in);
        }
        Outcome::Failed { failures, body } => {
            value["outcome"] = "failed".into();
            value["body"] = body.clone().into();
            value["failures"] = failures
                .iter()
                .map(|failure| {
                    let mut value = json!({
                        "subject": failure.subject,
                        "expected": failure.expected,
                        "actual": failure.actual,
                    });
                    place(&mut value, &failure.span);
                    value
                })
                .collect();
        }
        Outcome::Skipped { reason } => {
            value["outcome"] = "skipped".into();
            value["reason"] = reason.as_str().into();
        }
    }
    value
}

fn place(value: &mut Value, span: &crate::diagnostic::Span) {
    let position = span.position();
    value["file"] = span.file().path().to_string_lossy().into();
    value["line"] = position.line.into();
    value["column"] = position.column.into();
}

fn milliseconds(duration: Duration) -> Value {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .into()
}

/// Workflow commands that GitHub shows beside the lines of the files: one per failure.
#[must_use]
pub fn github(report: &SmokeReport) -> String {
    let mut text = String::new();
    for (service, check) in report.checks() {
        let Outcome::Failed { failures, .. } = &check.outcome else {
            continue;
        };
        for failure in failures {
            let position = failure.span.position();
            let file = failure.span.file().path().to_string_lossy();
            let title = format!("{service}: {}", check.name);
            let message = format!("{} ({})", told(failure), check.request);
            writeln!(
                text,
                "::error file={},line={},col={},title={}::{}",
                property(&file),
                position.line,
                position.column,
                property(&title),
                data(&message)
            )
            .expect("a String takes everything");
        }
    }
    text
}

/// The escapes of a workflow command's message.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// The escapes of a workflow command's property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Exit, Explain, SourceFile, Span};
    use crate::verify::{SmokeFailed, SuiteReport};

    fn report() -> SmokeReport {
        let file = SourceFile::new(
            "services/birthday/smoke.yaml",
            "checks:\n  - name: stores\n    expect: { status: 204 }\n  - name: greets\n",
        );
        let at = |text: &str| {
            let start = file.text().find(text).unwrap();
            Span::new(&file, start..start + text.len())
        };
        let check = |name: &str, outcome, attempts| CheckReport {
            name: name.into(),
            span: at(name),
            request: format!("PUT /{name}"),
            outcome,
            attempts,
            elapsed: Duration::from_millis(1500),
        };
        let failed = Outcome::Failed {
            failures: vec![Failure {
                span: at("204"),
                subject: "status".into(),
                expected: "204".into(),
                actual: "500".into(),
            }],
            body: Some("50% <full>".into()),
        };
        let skipped = Outcome::Skipped {
            reason: "`stores` failed before it".into(),
        };
        SmokeReport {
            suites: vec![SuiteReport {
                service: "birthday".parse().unwrap(),
                checks: vec![check("stores", failed, 3), check("greets", skipped, 0)],
                elapsed: Duration::from_millis(1500),
            }],
            elapsed: Duration::from_secs(2),
        }
    }

    #[test]
    fn github_annotations_name_the_line() {
        assert_eq!(
            github(&report()),
            "::error file=services/birthday/smoke.yaml,line=3,col=23,title=birthday%3A stores::\
             status: expected 204, got 500 (PUT /stores)\n"
        );
    }

    #[test]
    fn annotations_escape_what_would_end_them() {
        assert_eq!(data("50%\r\nx"), "50%25%0D%0Ax");
        assert_eq!(property("a:b,c"), "a%3Ab%2Cc");
    }

    #[test]
    fn json_has_a_version_and_every_check() {
        let value: Value = serde_json::from_str(&json(&report())).unwrap();
        assert_eq!(value["version"], 1);
        assert_eq!(
            (&value["passed"], &value["failed"], &value["skipped"]),
            (&json!(0), &json!(1), &json!(1))
        );
        assert_eq!(
            value["suites"][0]["checks"][0],
            json!({
                "name": "stores", "request": "PUT /stores", "attempts": 3, "milliseconds": 1500,
                "file": "services/birthday/smoke.yaml", "line": 2, "column": 11,
                "outcome": "failed", "body": "50% <full>",
                "failures": [{
                    "subject": "status", "expected": "204", "actual": "500",
                    "file": "services/birthday/smoke.yaml", "line": 3, "column": 23,
                }],
            })
        );
        assert_eq!(value["suites"][0]["checks"][1]["outcome"], "skipped");
        assert_eq!(
            value["suites"][0]["checks"][1]["reason"],
            "`stores` failed before it"
        );
    }

    #[test]
    fn junit_counts_and_locates() {
        let xml = junit(&report());
        for part in [
            "<testsuites name=\"smoke-test\" tests=\"2\" skipped=\"1\" failures=\"1\"",
            "<testsuite name=\"birthday\" tests=\"2\"",
            "services/birthday/smoke.yaml:3:23: status: expected 204, got 500",
            "PUT /stores (3 attempts)",
            "<skipped message=\"`stores` failed before it\"",
        ] {
            assert!(xml.contains(part), "{part} in\n{xml}");
        }
    }

    #[test]
    fn a_failed_check_is_explained_at_its_expectation() {
        let failed = report().into_result().unwrap_err();
        assert_eq!(failed.exit(), Exit::SmokeFailed);
        assert_eq!(
            failed.to_string(),
            "smoke tests failed: 0 passed, 1 failed, 1 skipped"
        );
        let problems = failed.diagnostics();
        let [problem] = &problems[..] else {
            panic!("one per failed check")
        };
        assert_eq!(problem.message, "birthday: the check `stores` failed");
        assert_eq!(problem.labels[0].span.text(), "204");
        assert_eq!(problem.labels[0].text, "status: expected 204, got 500");
        assert_eq!(
            problem.notes,
            [
                "PUT /stores (3 attempts in 1.5 s)",
                "the body of the answer: 50% <full>",
                "1 check after it did not run",
            ]
        );
        let passed = SmokeReport {
            suites: Vec::new(),
            elapsed: Duration::ZERO,
        };
        assert_eq!(passed.summary(), "0 passed");
        assert!(SmokeFailed(passed.clone()).diagnostics().is_empty());
        assert!(passed.into_result().is_ok());
    }
}
