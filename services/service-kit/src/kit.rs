//! What a service gets to register its checks, metrics and tasks with.

use std::any::Any;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware};
use http::{Method, StatusCode, Uri};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::about::About;
use crate::health::{self, Check, Health};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::openapi;
use crate::problem::Problem;
use crate::requests::{self, Observer};
use crate::settings::Settings;
use crate::store::Store;

/// The largest body that a route takes unless it sets its own
/// [`DefaultBodyLimit`]: the APIs here are small JSON documents.
const BODY_LIMIT: usize = 64 * 1024;

/// The parts of a service that are the same everywhere.
#[derive(Debug)]
pub struct Kit {
    settings: Settings,
    about: About,
    checks: Vec<Check>,
    stores: Vec<Store>,
    metrics: Metrics,
    lifecycle: Lifecycle,
}

impl Kit {
    /// A kit for the service that `about` describes.
    pub fn new(about: About, settings: Settings) -> Self {
        Self {
            metrics: Metrics::new(&about),
            settings,
            about,
            checks: Vec::new(),
            stores: Vec::new(),
            lifecycle: Lifecycle::default(),
        }
    }

    /// Makes `/readyz` depend on `ask`, which gives the reason when it fails.
    /// It is asked on every probe and has 900 ms.
    pub fn ready_when<F, Fut>(&mut self, name: &'static str, ask: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.checks.push(Check::new(name, ask));
    }

    /// Says where the service keeps its data, in the log now and in `/readyz` from then on.
    pub fn keeps(&mut self, store: Store) {
        store.announce();
        self.stores.push(store);
    }

    /// Registers metrics of the service's own.
    pub fn register_metrics<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        self.metrics.register(register)
    }

    /// Background tasks, and the news that shutdown has begun.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Who the service is.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// What every service reads from its environment.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The routes of the service with those of the kit, and with everything
    /// that surrounds a request. What [`serve`](crate::serve) serves; tests
    /// call it directly.
    pub fn app(&self, routes: OpenApiRouter) -> Router {
        let observer = Observer {
            metrics: self.metrics.clone(),
            lifecycle: self.lifecycle.clone(),
            limit: self.settings.request_limit,
            proxies: self.settings.proxies,
            places: Arc::new(Semaphore::new(self.settings.concurrency)),
        };
        let health = health::routes(Health {
            about: self.about.clone(),
            checks: self.checks.clone().into(),
            stores: self.stores.clone().into(),
            lifecycle: self.lifecycle.clone(),
        });
        let text = openapi::Text::default();
        let (routes, api) = routes
            .merge(health)
            .merge(openapi::routes(Arc::clone(&text)))
            .merge(self.metrics.clone().routes())
            .split_for_parts();
        let document = openapi::document(api, &self.about).to_json();
        text.get_or_init(|| document.expect("the document is texts and maps of them"));
        routes
            .fallback(no_such_path)
            .method_not_allowed_fallback(no_such_method)
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn_with_state(observer, requests::observe))
    }
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at `{}`", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!("`{}` does not take {method}", uri.path()),
    )
}

/// The panic itself is in the log already: see [`logging`](crate::logging).
fn panicked(_: Box<dyn Any + Send>) -> Response {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the service failed; its log has the cause under this request id",
    )
    .into_response()
}
