//! `cargo xtask`: the chores of this repository that need more than cargo.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool whose output is its product"
)]

mod bench;
mod needs;
mod process;
mod test;
mod tidy;
mod workspace;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--install] [STEP…]     everything this machine can run: workspace, registry, engine,
                               debian, images, cluster
  tidy                         rules of the code that a compiler does not check
  bench [--runs=N] [--json]    how long commands take, against limits
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["tidy"] => tidy::run(),
        ["test", args @ ..] => match test::Options::parse(args) {
            Some(options) => match test::run(&options) {
                // Its summary is the last line.
                Ok(false) => return ExitCode::FAILURE,
                outcome => outcome.map(drop),
            },
            None => return usage(),
        },
        ["bench", args @ ..] => match bench::Options::parse(args) {
            Some(options) => bench::run(&options),
            None => return usage(),
        },
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => return usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}
