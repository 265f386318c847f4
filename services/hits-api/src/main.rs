//! hits-api: takes increments and puts them on a Redis stream.

use std::process::ExitCode;

use service_kit::{about, run};

fn main() -> ExitCode {
    run(about!(), hits_api::configure, hits_api::start)
}
