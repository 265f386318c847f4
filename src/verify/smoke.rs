//! Runs smoke tests: files at the same time, the checks of a file in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Client;
use reqwest::redirect::Policy;

use super::assert::{Failure, Response, capture, failures};
use super::reach::Reach;
use super::request::{Prepared, prepare};
use super::result::{CheckReport, Outcome, SmokeReport, SuiteReport};
use super::scope::{Scope, Secrets, UnusableSecret};
use super::spec::{Check, Suite};
use crate::diagnostic::{Code, Diagnostic, Exit, Explain};
use crate::event::{Event, EventSink, Phase, TaskOutcome};
use crate::secret::{SHORTEST, SecretValues};

const NO_CLIENT: Code = Code::new("S0991");
/// A secret has no value that checks can use.
const UNUSABLE_SECRET: Code = Code::new("S0993");
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why no check runs.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The HTTP client could not be set up.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// Checks use a secret that they cannot.
    #[error(transparent)]
    Secret(#[from] UnusableSecret),
}

impl Explain for RunError {
    fn exit(&self) -> Exit {
        match self {
            Self::Client(_) => Exit::Failed,
            Self::Secret(_) => Exit::BadInput,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        vec![match self {
            Self::Client(_) => Diagnostic::error(NO_CLIENT, self.to_string()).caused_by(self),
            Self::Secret(secret) => Diagnostic::error(UNUSABLE_SECRET, secret.to_string())
                .at(&secret.span, "used here")
                .hint(format!("what checks use has {SHORTEST} characters or more")),
        }]
    }
}

/// Runs every check of `suites`. A wrong answer, or none, is tried again until the file's deadline; an
/// attempt that has begun before it may end after it. What comes after a failed check is skipped.
///
/// `values` has the secrets that they use ([`Suite::secrets`]). No event and no report holds one, not even where
/// an answer does.
pub async fn run(
    suites: &[Suite],
    values: &SecretValues,
    reach: &impl Reach,
    events: &dyn EventSink,
) -> Result<SmokeReport, RunError> {
    let secrets = Arc::new(Secrets::new(suites, values)?);
    let client = client()?;
    let start = Instant::now();
    events.emit(Event::PhaseStarted(Phase::Smoke));
    let running = suites.iter().map(|suite| async {
        let run = Run {
            suite,
            secrets: &secrets,
            client: &client,
            reach,
            events,
            start: Instant::now(),
        };
        run.suite().await
    });
    let report = SmokeReport {
        suites: join_all(running).await,
        elapsed: start.elapsed(),
    };
    events.emit(Event::PhaseFinished {
        phase: Phase::Smoke,
        summary: report.summary(),
        elapsed: report.elapsed,
    });
    Ok(report)
}

/// Sees redirects as they are, uses no proxy, and trusts the roots that browsers trust.
fn client() -> Result<Client, RunError> {
    // Fails where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|root| reqwest::Certificate::from_der(root).ok());
    Client::builder()
        .tls_certs_only(roots)
        .no_proxy()
        .redirect(Policy::none())
        // A connection that is kept would stick to a pod that is going away.
        .pool_idle_timeout(Duration::from_secs(2))
        .user_agent(concat!("stackctl/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(RunError::Client)
}

struct Run<'a, R> {
    suite: &'a Suite,
    secrets: &'a Arc<Secrets>,
    client: &'a Client,
    reach: &'a R,
    events: &'a dyn EventSink,
    start: Instant,
}

/// What one request led to.
enum Attempt {
    Passed(Response, Vec<(String, serde_json::Value)>),
    Failed {
        failures: Vec<Failure>,
        body: Option<String>,
        /// Whether it may be sent again even if it must not have an effect twice.
        never_sent: bool,
    },
}

impl<R: Reach> Run<'_, R> {
    async fn suite(&self) -> SuiteReport {
        let task = self.suite.service.to_string();
        self.events.emit(Event::TaskStarted {
            phase: Phase::Smoke,
            task: task.clone(),
        });
        let mut scope = Scope::draw(Arc::clone(self.secrets));
        let mut checks: Vec<CheckReport> = Vec::new();
        let mut failed: Option<String> = None;
        for check in &self.suite.checks {
            let report = match (&check.without, &failed) {
                (Some(service), _) => skipped(check, format!("`{service}` is disabled")),
                (None, Some(name)) => skipped(check, format!("`{name}` failed before it")),
                (None, None) => self.check(check, &mut scope).await,
            };
            if matches!(report.outcome, Outcome::Failed { .. }) {
                failed = Some(check.name.clone());
            }
            checks.push(report);
        }
        let elapsed = self.start.elapsed();
        let (outcome, detail) = match failed {
            Some(name) => (TaskOutcome::Failed, format!("`{name}` failed")),
            None => (TaskOutcome::Done, passed(&checks)),
        };
        self.events.emit(Event::TaskFinished {
            phase: Phase::Smoke,
            task,
            outcome,
            detail,
            elapsed,
        });
        SuiteReport {
            service: self.suite.service.clone(),
            checks,
            elapsed,
        }
    }

    async fn check(&self, check: &Check, scope: &mut Scope) -> CheckReport {
        let start = Instant::now();
        let mut report = CheckReport {
            name: check.name.clone(),
            span: check.span.clone(),
            request: String::new(),
            outcome: Outcome::Skipped {
                reason: String::new(),
            },
            attempts: 0,
            elapsed: Duration::ZERO,
        };
        let request = match prepare(&check.request, scope) {
            Ok(request) => request,
            Err(error) => {
                report.outcome = Outcome::Failed {
                    failures: vec![no_answer(check, error.to_string())],
                    body: None,
                };
                return report;
            }
        };
        report.request = request.line().to_owned();
        let mut pause = FIRST_PAUSE;
        report.outcome = loop {
            report.attempts += 1;
            match self.attempt(check, &request, scope).await {
                Attempt::Passed(response, captured) => {
                    scope.captures.extend(captured);
                    break Outcome::Passed {
                        answered_in: response.elapsed(),
                    };
                }
                Attempt::Failed {
                    failures,
                    body,
                    never_sent,
                } => {
                    let again = check.retry || never_sent;
                    if !again || self.start.elapsed() + pause >= self.suite.deadline {
                        break Outcome::Failed { failures, body };
                    }
                    self.waiting(check, &failures);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        };
        report.elapsed = start.elapsed();
        report
    }

    async fn attempt(&self, check: &Check, request: &Prepared, scope: &Scope) -> Attempt {
        let failed = |actual: String, never_sent| Attempt::Failed {
            failures: vec![no_answer(check, scope.scrub(&actual))],
            body: None,
            never_sent,
        };
        let base = match self
            .reach
            .url(&self.suite.service, &check.request.port)
            .await
        {
            Ok(base) => base,
            Err(error) => {
                let cause = std::error::Error::source(&error)
                    .map_or_else(String::new, |cause| format!(": {cause}"));
                return failed(format!("{error}{cause}"), true);
            }
        };
        let response = match request.send(self.client, &base).await {
            Ok(response) => response,
            Err(error) => return failed(error.to_string(), error.never_sent()),
        };
        let found = failures(&check.expect, &response, scope);
        let found = if found.is_empty() {
            match capture(&check.captures, &response, scope) {
                Ok(captured) => return Attempt::Passed(response, captured),
                Err(found) => found,
            }
        } else {
            found
        };
        Attempt::Failed {
            failures: found,
            body: Some(response.excerpt(scope)),
            never_sent: false,
        }
    }

    fn waiting(&self, check: &Check, failures: &[Failure]) {
        let Some(Failure {
            subject,
            expected,
            actual,
            ..
        }) = failures.first()
        else {
            return;
        };
        self.events.emit(Event::TaskProgress {
            phase: Phase::Smoke,
            task: self.suite.service.to_string(),
            message: format!(
                "{}: {subject}: expected {expected}, got {actual}",
                check.name
            ),
        });
    }
}

fn no_answer(check: &Check, actual: String) -> Failure {
    Failure {
        span: check.request.span.clone(),
        subject: "request".into(),
        expected: "an answer".into(),
        actual,
    }
}

/// Such as `9 passed, 2 skipped`, where none failed.
fn passed(checks: &[CheckReport]) -> String {
    let is_skipped = |check: &&CheckReport| matches!(check.outcome, Outcome::Skipped { .. });
    match checks.iter().filter(is_skipped).count() {
        0 => format!("{} passed", checks.len()),
        skipped => format!("{} passed, {skipped} skipped", checks.len() - skipped),
    }
}

fn skipped(check: &Check, reason: String) -> CheckReport {
    CheckReport {
        name: check.name.clone(),
        span: check.span.clone(),
        request: String::new(),
        outcome: Outcome::Skipped { reason },
        attempts: 0,
        elapsed: Duration::ZERO,
    }
}

#[cfg(test)]
mod secret_tests;
#[cfg(test)]
mod tests;
