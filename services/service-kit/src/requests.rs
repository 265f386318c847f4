//! What happens around every request: an id, a span for its logs, a time
//! limit, a place until its answer is sent, and its entry in metrics and log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::client::ClientAddress;
use crate::extract::ArrivalLimit;
use crate::lifecycle::Lifecycle;
use crate::metrics::{Metrics, RequestLabels};
use crate::problem::Problem;
use crate::sending::{Held, Sending};

/// The id of a request: the caller's `x-request-id` if it is usable, else a
/// new one. In the extensions of the request, in its logs and in its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

#[derive(Clone, Debug)]
pub(crate) struct Observer {
    pub(crate) metrics: Metrics,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) limit: Duration,
    /// How many proxies are in front that can be believed.
    pub(crate) proxies: usize,
    /// One for each request that may be answered at once.
    pub(crate) places: Arc<Semaphore>,
}

/// A request until the head of its answer is there. One whose client goes before that is counted and logged as well.
struct Asked {
    metrics: Metrics,
    method: Method,
    route: Option<MatchedPath>,
    started: Instant,
    span: Span,
    is_answered: bool,
}

/// The status in metrics and log of a request that was not answered, since its client had gone. As nginx has it.
const CLIENT_GONE: u16 = 499;
/// Asked by machines that judge the service: also when it has more to do than it can.
pub(crate) const JUDGED_BY: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

pub(crate) async fn observe(
    State(observer): State<Observer>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(request.headers());
    let client = ClientAddress::of(&request, observer.proxies);
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(client);
    // A body that comes too slowly is refused before the request is out of time.
    let arrival = ArrivalLimit(observer.limit / 2);
    request.extensions_mut().insert(arrival);

    let asked = Asked::new(&request, &id, &observer);
    let in_flight = observer.metrics.enter();
    let place = match asked.is_judged() {
        true => Ok(None),
        false => observer.places.try_acquire_owned().map(Some),
    };
    let (mut response, place) = match place {
        Ok(place) => {
            let answer = answer(request, next, observer.limit);
            (answer.instrument(asked.span.clone()).await, place)
        }
        Err(_) => (busy().into_response(), None),
    };
    asked.answered(response.status());

    response.headers_mut().insert(RequestId::HEADER, id.0);
    if observer.lifecycle.is_draining() {
        // The client's next request shall find another replica.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    let held = Held::new(in_flight, place);
    response.map(|body| Body::new(Sending::new(body, held, observer.limit)))
}

impl Asked {
    fn new(request: &Request, id: &RequestId, observer: &Observer) -> Self {
        let method = request.method().clone();
        // Of the highest level: whatever is logged has the id.
        let span = tracing::error_span!(
            "request",
            request_id = id.as_str(),
            method = method.as_str(),
            path = request.uri().path(),
        );
        Self {
            metrics: observer.metrics.clone(),
            method,
            route: request.extensions().get::<MatchedPath>().cloned(),
            started: Instant::now(),
            span,
            is_answered: false,
        }
    }

    /// Whether a machine asks that judges the service.
    fn is_judged(&self) -> bool {
        self.route().is_some_and(|route| JUDGED_BY.contains(&route))
    }

    fn route(&self) -> Option<&str> {
        self.route.as_ref().map(MatchedPath::as_str)
    }

    fn answered(mut self, status: StatusCode) {
        self.is_answered = true;
        self.record(status, "answered");
    }

    fn record(&self, status: StatusCode, message: &str) {
        let elapsed = self.started.elapsed();
        let labels = RequestLabels::new(&self.method, self.route(), status);
        self.metrics.observe(&labels, elapsed);
        let (status, duration_ms) = (status.as_u16(), elapsed.as_secs_f64() * 1000.0);
        self.span.in_scope(|| match self.is_judged() {
            // Asked every few seconds by machines: news only to those who look for it.
            true => tracing::debug!(status, duration_ms, "{message}"),
            false => tracing::info!(status, duration_ms, "{message}"),
        });
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_answered {
            // What the server does with the request of a connection that is closed.
            let status = StatusCode::from_u16(CLIENT_GONE).expect("a number of three digits");
            self.record(status, "not answered: the client has gone");
        }
    }
}

/// An answer within `limit`. A handler that is cut off may have changed
/// something already, and the answer says so.
async fn answer(request: Request, next: Next, limit: Duration) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "request-timed-out",
            format!(
                "no answer within {} s; a change that was asked for may or may not have happened",
                limit.as_secs_f64()
            ),
        )
        .into_response(),
    }
}

fn busy() -> Problem {
    Problem::unavailable(
        "busy",
        "as many requests as this replica takes are being answered",
    )
}

impl RequestId {
    /// The name of its header.
    pub const HEADER: &str = "x-request-id";

    /// A new one, for work that no request asked for.
    #[must_use]
    pub fn random() -> Self {
        let id = HeaderValue::try_from(Uuid::now_v7().to_string());
        Self(id.expect("a UUID is letters, digits and dashes"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only visible ASCII is let in.
        self.0.to_str().unwrap_or_default()
    }

    /// Callers may send anything; what is long or odd would end up in logs.
    fn of(headers: &HeaderMap) -> Self {
        let usable = |id: &&HeaderValue| {
            (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        match headers.get(Self::HEADER).filter(usable) {
            Some(id) => Self(id.clone()),
            None => Self::random(),
        }
    }
}
