//! counter: named counters in Redis.

use std::process::ExitCode;

use service_kit::{about, run};

fn main() -> ExitCode {
    run(about!(), counter::configure, counter::start)
}
