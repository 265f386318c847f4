//! upload: takes images and keeps them in several sizes.

use std::process::ExitCode;

use service_kit::{about, run};

fn main() -> ExitCode {
    run(about!(), upload::configure, upload::start)
}
