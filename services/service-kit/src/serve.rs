//! Serving, and an end that drops no request.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::serve::Listener;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use crate::kit::Kit;
use crate::problem::chain;
use crate::settings::Settings;

/// How long the head of a request may take, and how long a connection may be idle before it. Clients that keep
/// connections for less, as HAProxy does, close them first, and never lose a request to a connection that is closing.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// How long background tasks have to end. With the defaults for draining and
/// requests this stays below the 30 seconds that Kubernetes gives a pod.
const TASK_LIMIT: Duration = Duration::from_secs(8);
/// On top of the limit of a request, for its answer to be written.
const WRITE_MARGIN: Duration = Duration::from_secs(2);

/// Serves `routes` over HTTP/1.1 until `trigger` completes. Then, in this order:
///
/// 1. `/readyz` fails at once; new connections are accepted for the drain time;
/// 2. the listener closes; open requests are finished, within the limit of a
///    request (a client that sent half a request would otherwise hold up the
///    end for ever);
/// 3. background tasks are asked to end, and have eight seconds for it.
pub async fn serve(
    kit: Kit,
    listener: TcpListener,
    routes: OpenApiRouter,
    trigger: impl Future<Output = ()>,
) {
    let app = kit.app(routes);
    let lifecycle = kit.lifecycle();
    let settings = kit.settings();
    let connections = GracefulShutdown::new();
    let drained = async {
        trigger.await;
        lifecycle.drain();
        tracing::info!(drain_seconds = settings.drain.as_secs_f64(), "draining");
        sleep(settings.drain).await;
    };
    // The listener closes with the future that accepts.
    tokio::select! {
        never = accept(listener, app, settings, &connections) => match never {},
        () = drained => {}
    }
    let limit = settings.request_limit + WRITE_MARGIN;
    if timeout(limit, connections.shutdown()).await.is_err() {
        tracing::warn!("connections were still open and are cut off");
    }
    if timeout(TASK_LIMIT, lifecycle.stop()).await.is_err() {
        let tasks = lifecycle.open_tasks();
        tracing::warn!(tasks, "background tasks did not end and are cut off");
    }
    tracing::info!("stopped");
}

/// Answers on as many connections as there may be; the next waits until one of them is closed.
async fn accept(
    mut listener: TcpListener,
    app: Router,
    settings: &Settings,
    connections: &GracefulShutdown,
) -> Infallible {
    // Makes the routes once and not for each request.
    let app = app.with_state(());
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT);
    let places = Arc::new(Semaphore::new(settings.connections));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("nobody closes it");
        // That of axum waits a second when it is out of files.
        let (stream, peer) = Listener::accept(&mut listener).await;
        let stream = limited(stream, settings.request_limit);
        let app = app.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            app.clone().oneshot(request)
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                let reason = chain(&error);
                tracing::debug!(client = %peer, reason, "a connection was cut off");
            }
            drop(place);
        });
    }
}

/// A connection that fails once its client reads nothing of what it is sent for `limit`.
fn limited(stream: TcpStream, limit: Duration) -> Pin<Box<TimeoutStream<TcpStream>>> {
    // Small answers on kept-alive connections wait 40 ms otherwise.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limit));
    Box::pin(stream)
}
