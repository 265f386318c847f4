//! What Prometheus and Grafana of the stack are told, checked by Debian's Prometheus and against the services.
#![allow(clippy::unwrap_used)]

mod dashboards;
mod names;
mod promtool;
mod scrape;
mod targets;

/// The folder of the repository's services.
const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What the image has in `/etc/prometheus`.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rootfs/etc/prometheus");

/// A file below [`SERVICES`].
fn read(path: &str) -> String {
    let path = std::path::Path::new(SERVICES).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
