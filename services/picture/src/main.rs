//! picture: a page with a picture that is kept for a while and then replaced.

use std::process::ExitCode;

use service_kit::{about, run};

fn main() -> ExitCode {
    run(about!(), picture::configure, picture::start)
}
