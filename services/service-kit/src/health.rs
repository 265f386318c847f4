//! `/healthz`: the process answers. `/readyz`: it can do its work, and if not,
//! why. `/version`: what it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, join_all};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::about::About;
use crate::lifecycle::Lifecycle;
use crate::problem::Problem;
use crate::store::Store;

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

/// What the routes here tell of.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) about: About,
    pub(crate) checks: Arc<[Check]>,
    pub(crate) stores: Arc<[Store]>,
    pub(crate) lifecycle: Lifecycle,
}

/// Whether requests should be sent here.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ready,
    Unready,
    Draining,
}

/// The answer of `/readyz`.
#[derive(Serialize, ToSchema)]
#[schema(as = Readiness)]
struct Report {
    status: Status,
    /// What the service needs.
    checks: Vec<CheckReport>,
    /// Where it keeps its data.
    stores: Vec<Store>,
}

/// Something that the service needs.
#[derive(Serialize, ToSchema)]
#[schema(as = Check)]
struct CheckReport {
    name: &'static str,
    ok: bool,
    /// Why it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The three routes.
pub(crate) fn routes(health: Health) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(version))
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

/// Whether the process answers and its background tasks live.
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses(
        (status = OK, body = String),
        (status = INTERNAL_SERVER_ERROR, description = "`task-ended`")
    )
)]
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

/// Whether requests should be sent here, and why not.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses((status = OK, body = Report), (status = SERVICE_UNAVAILABLE, body = Report))
)]
async fn readyz(State(health): State<Health>) -> Response {
    let report = if health.lifecycle.is_draining() {
        Report {
            status: Status::Draining,
            checks: Vec::new(),
            stores: health.stores.to_vec(),
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
            stores: health.stores.to_vec(),
        }
    };
    let status = match report.status {
        Status::Ready => StatusCode::OK,
        Status::Unready | Status::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (status, [no_store], Json(report)).into_response()
}

/// What is running.
#[utoipa::path(get, path = "/version", tag = "health", responses((status = OK, body = About)))]
async fn version(State(health): State<Health>) -> Json<About> {
    Json(health.about)
}
