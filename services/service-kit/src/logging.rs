//! Logs: one JSON object a line on stdout, carrying the request they belong to.

use tracing_subscriber::EnvFilter;

/// Sends all events of the process to stdout. A second call changes nothing,
/// so that tests in one process do not fight over it.
pub(crate) fn init(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .try_init();
}
