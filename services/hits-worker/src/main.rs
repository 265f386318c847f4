//! hits-worker: sums up the increments of a Redis stream in PostgreSQL.

use std::process::ExitCode;

use service_kit::{about, run};

fn main() -> ExitCode {
    run(about!(), hits_worker::configure, hits_worker::start)
}
