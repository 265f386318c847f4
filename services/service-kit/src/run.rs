//! The `main` of every service: read the configuration, start, serve, stop.

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use utoipa_axum::router::OpenApiRouter;

use crate::about::About;
use crate::config::{self, Reader, Unusable};
use crate::kit::Kit;
use crate::logging;
use crate::problem::chain;
use crate::serve::serve;
use crate::settings::Settings;

/// Why a service could not start.
pub type StartError = Box<dyn Error + Send + Sync>;

const BAD_CONFIGURATION: u8 = 2;

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("cannot start the async runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    #[error("cannot listen on port {port}")]
    Bind {
        port: u16,
        #[source]
        source: io::Error,
    },
    #[error("cannot start")]
    Start(#[source] StartError),
}

/// Runs a service until SIGTERM or SIGINT. The exit code is 2 when the
/// environment is not usable, 1 when anything else kept it from serving.
///
/// `configure` reads the service's own variables; `start` builds its routes,
/// without waiting for anything that may be away: readiness says that.
pub fn run<C, F>(
    about: About,
    configure: fn(&mut Reader<'_>) -> Result<C, Unusable>,
    start: F,
) -> ExitCode
where
    F: AsyncFnOnce(C, &mut Kit) -> Result<OpenApiRouter, StartError>,
{
    let lookup = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    let read = config::read(&lookup, |env| {
        // Both, before the first `?`: all faults are to be reported at once.
        let (settings, own) = (Settings::read(env), configure(env));
        Ok((settings?, own?))
    });
    let (settings, config) = match read {
        Ok(both) => both,
        Err(error) => {
            say(&format!("{}: {error}", about.name));
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    logging::init(&settings.log_filter);
    logging::log_panics();
    let name = about.name;
    match block_on(Kit::new(about, settings), config, start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{name}: {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

fn block_on<C, F>(kit: Kit, config: C, start: F) -> Result<(), RunError>
where
    F: AsyncFnOnce(C, &mut Kit) -> Result<OpenApiRouter, StartError>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let result = runtime.block_on(start_and_serve(kit, config, start));
    // Blocking work that is still running must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn start_and_serve<C, F>(mut kit: Kit, config: C, start: F) -> Result<(), RunError>
where
    F: AsyncFnOnce(C, &mut Kit) -> Result<OpenApiRouter, StartError>,
{
    let trigger = shutdown_signal().map_err(RunError::Signals)?;
    let port = kit.settings().port;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        .await
        .map_err(|source| RunError::Bind { port, source })?;
    let routes = start(config, &mut kit).await.map_err(RunError::Start)?;
    let about = kit.about();
    let address = listener.local_addr().ok();
    tracing::info!(
        service = about.name,
        version = about.version,
        commit = about.commit,
        address = address.map(tracing::field::display),
        "serving"
    );
    serve(kit, listener, routes, trigger).await;
    Ok(())
}

/// Completes on SIGTERM or SIGINT. The handlers are in place on return, so a
/// signal during start-up is not lost.
fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[expect(clippy::print_stderr, reason = "the last words of the process")]
fn say(message: &str) {
    eprintln!("{message}");
}
