//! `/metrics` in the OpenMetrics text format: requests by method, route and
//! status, how long they took, and what a service adds of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, header};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::about::About;
use crate::problem::Problem;

/// The upper bounds, in seconds: from an answer out of memory to the request limit.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

type Histograms = Family<RequestLabels, Histogram, fn() -> Histogram>;

/// The metrics of the process. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<RequestLabels, Counter>,
    durations: Histograms,
    in_flight: Gauge,
}

/// Few values each: the route is the pattern, never the path that was asked for.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    method: String,
    path: String,
    status: u16,
}

/// Counts a request as in flight until it is dropped, also by a panic or a
/// client that went away.
#[derive(Debug)]
pub(crate) struct InFlight(Gauge);

impl Metrics {
    pub(crate) fn new(about: &About) -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let durations =
            Histograms::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let in_flight = Gauge::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time until the head of the answer was ready",
            durations.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests being answered",
            in_flight.clone(),
        );
        let build = Info::new(vec![
            ("service", about.name),
            ("version", about.version),
            ("commit", about.commit.unwrap_or("unknown")),
        ]);
        registry.register("build", "What is running", build);
        Self {
            registry: Arc::new(Mutex::new(registry)),
            requests,
            durations,
            in_flight,
        }
    }

    pub(crate) fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn enter(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    pub(crate) fn observe(&self, labels: &RequestLabels, duration: Duration) {
        self.requests.get_or_create(labels).inc();
        self.durations
            .get_or_create(labels)
            .observe(duration.as_secs_f64());
    }

    pub(crate) fn routes(self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(metrics))
            .with_state(self)
    }
}

impl RequestLabels {
    /// Callers choose the method freely, so unknown ones share one label.
    pub(crate) fn new(method: &Method, route: Option<&str>, status: StatusCode) -> Self {
        const KNOWN: [Method; 7] = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ];
        let method = if KNOWN.contains(method) {
            method.as_str()
        } else {
            "other"
        };
        Self {
            method: method.to_owned(),
            path: route.unwrap_or("unmatched").to_owned(),
            status: status.as_u16(),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The metrics of this process, as OpenMetrics.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = OK, body = String, content_type = "application/openmetrics-text"))
)]
async fn metrics(State(metrics): State<Metrics>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let mut body = String::new();
    match metrics.register(|registry| text::encode(&mut body, registry)) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], body).into_response(),
        Err(error) => Problem::internal(&error).into_response(),
    }
}
