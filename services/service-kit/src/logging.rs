//! Logs: one JSON object a line on stdout, carrying the request they belong to; panics as well.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::panic::{self, PanicHookInfo};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Sends all events of the process to stdout. A second call changes nothing,
/// so that tests in one process do not fight over it.
pub(crate) fn init(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing::subscriber::set_global_default(subscriber(filter, io::stdout));
}

/// Makes panics events, instead of text on stderr that belongs to no request.
pub(crate) fn log_panics() {
    panic::set_hook(Box::new(log_panic));
}

fn log_panic(panicked: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let has_backtrace = backtrace.status() == BacktraceStatus::Captured;
    tracing::error!(
        panic = panicked.payload_as_str().unwrap_or("no message"),
        location = panicked.location().map(tracing::field::display),
        thread = std::thread::current().name(),
        // Where `RUST_BACKTRACE` asks for it.
        backtrace = has_backtrace.then(|| tracing::field::display(&backtrace)),
        "panicked"
    );
}

fn subscriber<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(writer)
        .finish()
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::routing::get;
    use serde_json::Value;

    use super::*;
    use crate::testing::{call, request};
    use crate::{Kit, Settings, about};

    /// What was logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn lines(&self) -> Vec<String> {
            let bytes = self.0.lock().unwrap().clone();
            let text = String::from_utf8(bytes).unwrap();
            text.lines().map(String::from).collect()
        }
    }

    fn app() -> Router {
        let routes = Router::new()
            .route("/panic", get(|| async { panic!("oh no {}", 7) as () }))
            .route("/never", get(std::future::pending::<()>));
        Kit::new(about!(), Settings::default()).app(routes.into())
    }

    #[tokio::test]
    async fn a_panic_is_one_line_of_the_log_with_the_id_of_the_request() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = subscriber(EnvFilter::new("info"), move || writer.clone());
        let _logging = tracing::subscriber::set_default(subscriber);
        log_panics();
        let mut panics = request("GET", "/panic", &Value::Null);
        let id = "id-1".parse().unwrap();
        panics.headers_mut().insert("x-request-id", id);
        assert_eq!(call(&app(), panics).await.status, 500);

        let lines = log.lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        // A reader of JSON would take the last of two.
        assert_eq!(lines[0].matches("\"message\":").count(), 1, "{}", lines[0]);
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["message"], "panicked");
        assert_eq!(line["panic"], "oh no 7");
        assert_eq!(line["span"]["request_id"], "id-1");
        let location = line["location"].as_str().unwrap();
        assert!(location.contains("logging.rs:"), "{location}");
        let answered: Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(answered["message"], "answered");
        assert_eq!(answered["status"], 500);
    }

    #[tokio::test]
    async fn a_request_whose_client_goes_is_one_line_of_the_log() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = subscriber(EnvFilter::new("info"), move || writer.clone());
        let _logging = tracing::subscriber::set_default(subscriber);
        let app = app();
        let asked = call(&app, request("GET", "/never", &Value::Null));
        // What the server does with a request whose connection is gone.
        let given_up = tokio::time::timeout(std::time::Duration::from_millis(1), asked).await;
        assert!(given_up.is_err());
        let lines = log.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["message"], "not answered: the client has gone");
        assert_eq!(line["status"], 499);
        assert_eq!(line["span"]["path"], "/never");
        assert!(line["span"]["request_id"].is_string(), "{line}");
    }
}
