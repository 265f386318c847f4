//! Serving, and an end that drops no request.

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::kit::Kit;

/// How long background tasks have to end. With the defaults for draining and
/// requests this stays below the 30 seconds that Kubernetes gives a pod.
const TASK_LIMIT: Duration = Duration::from_secs(8);
/// On top of the limit of a request, for its answer to be written.
const WRITE_MARGIN: Duration = Duration::from_secs(2);

/// Serves `routes` until `trigger` completes. Then, in this order:
///
/// 1. `/readyz` fails at once; new connections are accepted for the drain time;
/// 2. the listener closes; open requests are finished, within the limit of a
///    request (a client that sent half a request would otherwise hold up the
///    end for ever);
/// 3. background tasks are asked to end, and have eight seconds for it.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    kit: Kit,
    listener: TcpListener,
    routes: OpenApiRouter,
    trigger: impl Future<Output = ()>,
) -> io::Result<()> {
    let app = kit
        .app(routes)
        .into_make_service_with_connect_info::<SocketAddr>();
    let lifecycle = kit.lifecycle();
    let settings = kit.settings();
    let closing = CancellationToken::new();
    let listener = listener.tap_io(|stream| {
        // Small answers on kept-alive connections wait 40 ms otherwise.
        let _ = stream.set_nodelay(true);
    });
    let mut server = pin!(
        axum::serve(listener, app)
            .with_graceful_shutdown(closing.clone().cancelled_owned())
            .into_future()
    );

    tokio::select! {
        result = &mut server => return result,
        () = trigger => {}
    }
    lifecycle.drain();
    tracing::info!(drain_seconds = settings.drain.as_secs_f64(), "draining");
    tokio::select! {
        result = &mut server => return result,
        () = sleep(settings.drain) => {}
    }
    closing.cancel();
    let finished = timeout(settings.request_limit + WRITE_MARGIN, &mut server).await;
    if finished.is_err() {
        tracing::warn!("connections were still open and are cut off");
    }
    if timeout(TASK_LIMIT, lifecycle.stop()).await.is_err() {
        let tasks = lifecycle.open_tasks();
        tracing::warn!(tasks, "background tasks did not end and are cut off");
    }
    tracing::info!("stopped");
    finished.unwrap_or(Ok(()))
}
