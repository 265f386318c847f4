//! `/healthz`: the process answers. `/readyz`: it can do its work, and if not,
//! why. `/version`: what it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::{BoxFuture, join_all};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::about::About;
use crate::lifecycle::Lifecycle;
use crate::problem::Problem;

/// Below the second that a kubelet waits for a probe unless told otherwise, so
/// that a slow dependency is reported with its reason and not as a timeout.
const CHECK_LIMIT: Duration = Duration::from_millis(900);

/// What a readiness check says: fine, or the reason why not.
pub(crate) type CheckResult = Result<(), String>;

/// A named question whether something that the service needs is there.
#[derive(Clone)]
pub(crate) struct Check {
    name: &'static str,
    ask: Arc<dyn Fn() -> BoxFuture<'static, CheckResult> + Send + Sync>,
}

#[derive(Clone)]
struct Health {
    about: About,
    checks: Arc<[Check]>,
    lifecycle: Lifecycle,
}

/// Whether requests should be sent here.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ready,
    Unready,
    Draining,
}

#[derive(Serialize)]
struct Report {
    status: Status,
    checks: Vec<CheckReport>,
}

#[derive(Serialize)]
struct CheckReport {
    name: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The three routes.
pub(crate) fn routes(about: About, checks: Vec<Check>, lifecycle: Lifecycle) -> Router {
    let health = Health {
        about,
        checks: checks.into(),
        lifecycle,
    };
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .with_state(health)
}

impl Check {
    pub(crate) fn new<F, Fut>(name: &'static str, ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = CheckResult> + Send + 'static,
    {
        Self {
            name,
            ask: Arc::new(move || Box::pin(ask())),
        }
    }

    async fn run(&self) -> CheckReport {
        let answer = match tokio::time::timeout(CHECK_LIMIT, (self.ask)()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} ms", CHECK_LIMIT.as_millis())),
        };
        CheckReport {
            name: self.name,
            ok: answer.is_ok(),
            reason: answer.err(),
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

async fn healthz(State(health): State<Health>) -> Response {
    match health.lifecycle.broken() {
        None => "ok\n".into_response(),
        Some(task) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "task-ended",
            format!("the background task `{task}` has ended; the process must be started again"),
        )
        .into_response(),
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    let report = if health.lifecycle.is_draining() {
        Report {
            status: Status::Draining,
            checks: Vec::new(),
        }
    } else {
        let checks = join_all(health.checks.iter().map(Check::run)).await;
        let ready = checks.iter().all(|check| check.ok);
        Report {
            status: if ready {
                Status::Ready
            } else {
                Status::Unready
            },
            checks,
        }
    };
    let status = match report.status {
        Status::Ready => StatusCode::OK,
        Status::Unready | Status::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (status, [no_store], Json(report)).into_response()
}

async fn version(State(health): State<Health>) -> Json<About> {
    Json(health.about)
}
