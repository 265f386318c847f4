//! What `cargo xtask bench` measures the services with. Each command writes JSON to stdout.
#![allow(clippy::print_stdout, reason = "its output is its product")]

mod client;
mod servers;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use http::{Method, StatusCode};

use crate::client::Load;
use crate::target::Target;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sends requests, the next on each connection when the one before is answered.
    Run(Run),
    /// Serves an axum handler that does nothing, until stdin ends.
    Bare,
    /// Runs Redis and PostgreSQL that lose nothing, until stdin ends.
    Stores,
}

#[derive(clap::Args)]
struct Run {
    /// `{n}` becomes a number from 000 to 999, `{letters}` three letters.
    url: String,
    #[arg(long, default_value = "GET")]
    method: Method,
    /// With the same places as the URL.
    #[arg(long)]
    body: Option<String>,
    /// As it is.
    #[arg(long, conflicts_with = "body")]
    body_file: Option<PathBuf>,
    #[arg(long, default_value = "application/json")]
    content_type: String,
    /// The status of success. 429 and 503 are counted as refused; any other ends the run.
    #[arg(long, default_value = "200")]
    status: StatusCode,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run(run) => {
            let load = Load {
                connections: run.connections,
                duration: Duration::try_from_secs_f64(run.seconds)?,
                success: run.status,
            };
            let result = client::run(Target::new(&run)?, &load).await?;
            println!("{}", result.to_json());
            Ok(())
        }
        Command::Bare => servers::bare().await,
        Command::Stores => servers::stores().await,
    }
}
