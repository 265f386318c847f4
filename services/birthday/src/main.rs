//! birthday: remembers dates of birth and says how many days are left.

use std::process::ExitCode;

use service_kit::{about, run};

fn main() -> ExitCode {
    run(about!(), birthday::configure, birthday::start)
}
