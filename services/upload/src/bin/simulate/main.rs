//! simulate: fires uploads at a running `upload` and follows each that was
//! accepted to its end.

mod images;
mod load;
mod report;
mod service;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use reqwest::Url;

use crate::load::Plan;
use crate::report::Report;
use crate::service::Service;

/// Fires uploads at a running `upload`, waits as long as its refusals ask for,
/// and follows each accepted upload until its job has ended and its images are
/// there. The exit code is 1 when one was lost or failed, or none was accepted.
#[derive(Debug, Parser)]
struct Args {
    /// Where the service is, such as http://127.0.0.1:8080
    url: Url,
    /// How many images are uploaded
    #[arg(long, value_name = "N", default_value = "5000", value_parser = number(10_000_000))]
    uploads: usize,
    /// How many uploads are under way at once
    #[arg(long, value_name = "N", default_value = "64", value_parser = number(10_000))]
    clients: usize,
    /// Seconds after which an upload that nobody accepts is given up, and a job that does not end counts as lost
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = number(3600))]
    patience: usize,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

#[expect(clippy::print_stdout, reason = "the report")]
#[expect(clippy::print_stderr, reason = "the reason of a failure")]
#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let service = match Service::new(&args.url) {
        Ok(service) => service,
        Err(error) => {
            eprintln!("simulate: {}", service_kit::chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let plan = Plan {
        uploads: args.uploads,
        clients: args.clients,
        patience: Duration::from_secs(args.patience as u64),
    };
    let outcome = load::run(service, plan).await;
    let report = Report::of(&plan, outcome);
    if args.json {
        println!("{}", report.json());
    } else {
        println!("{report}");
    }
    match report.is_success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn number(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}
