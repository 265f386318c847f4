//! The program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    stackctl::run(std::env::args_os()).into()
}
