//! picture-source: draws a picture, another one each time.

use std::process::ExitCode;

use service_kit::{about, run};

fn main() -> ExitCode {
    run(about!(), picture_source::configure, picture_source::start)
}
