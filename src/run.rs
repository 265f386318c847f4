//! The composition root: arguments → settings → command → what the terminal shows → exit code.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command, Global, Target};
use crate::commands::{
    CommandError, Env, Measured, Outcome, build, deploy, down, init, logs, port_forward, render,
    smoke_test, status, up, validate,
};
use crate::diagnostic::{Code, Diagnostic, Exit};
use crate::settings::{
    BuildSettings, LogSettings, Place, ReportSettings, argument, kubernetes_minor,
};
use crate::stack;
use crate::timings::{self, Page, Run, Timings};
use crate::ui::Terminal;

/// A second Ctrl-C.
const CUT_SHORT: Code = Code::new("S0003");
/// The program itself does not work here.
const NO_RUNTIME: Code = Code::new("S0002");

/// The whole program: arguments in, exit code out.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to be told when the streams are gone.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::BadInput
            } else {
                Exit::Done
            };
        }
    };
    let terminal = Terminal::new(&cli.global);
    let cancel = CancellationToken::new();
    let timings = match cli.global.timings {
        true => Timings::start(),
        false => Timings::off(),
    };
    let started = Timestamp::now();
    let events = Measured::new(terminal.events(&cancel), timings.clone());
    let env = Env {
        events: Arc::new(events),
        cancel,
        color: Terminal::has_color(),
        timings: timings.clone(),
    };
    let result = dispatch(&cli, &env);
    // Bars that still run are cleared with the last holder of the events: before the result is shown, not over it.
    drop(env);
    let (exit, shown) = match result {
        Ok(outcome) => (outcome.exit(), terminal.outcome(&outcome)),
        Err(error) => (error.exit, terminal.error(&error)),
    };
    if let Some(run) = timings.run() {
        let page = write_timings(&cli, &run, started);
        terminal.timings(&run, page.as_deref());
    }
    match shown {
        Ok(()) => exit,
        Err(_) => Exit::Failed,
    }
}

fn dispatch(cli: &Cli, env: &Env) -> Result<Outcome, CommandError> {
    let place = |target: &Target| Place::new(&cli.global, &target.environment, &target.services);
    match &cli.command {
        Command::Init(arguments) => {
            let name = arguments
                .name
                .as_deref()
                .map(|name| argument("--name", name))
                .transpose()?;
            let directory = below(&cli.global, &arguments.folder);
            init::run(&init::InitSettings { directory, name }, env)
        }
        Command::Render(arguments) => {
            let kubernetes = arguments
                .kubernetes
                .as_deref()
                .map(kubernetes_minor)
                .transpose()?;
            let settings = render::RenderSettings {
                to: arguments.to.clone(),
                source: arguments.source,
                kubernetes,
            };
            render::render(&place(&arguments.target)?, &settings, env)
        }
        Command::Validate(arguments) => validate::validate(&place(&arguments.target)?, env),
        Command::Build(arguments) => {
            let place = place(&arguments.target)?;
            let settings = BuildSettings::try_from(arguments)?;
            block_on(env, build::build(&place, &settings, env))
        }
        Command::Up(arguments) => {
            let place = place(&arguments.target)?;
            block_on(
                env,
                up::up(
                    &place,
                    &ReportSettings::try_from(&arguments.reports)?,
                    arguments.take_over,
                    env,
                ),
            )
        }
        Command::Deploy(arguments) => {
            let place = place(&arguments.target)?;
            let settings = deploy::DeploySettings {
                dry_run: arguments.dry_run,
                take_over: arguments.take_over,
                images: arguments.images.clone(),
            };
            block_on(env, deploy::deploy(&place, &settings, env))
        }
        Command::Status(arguments) => {
            let place = place(&arguments.target)?;
            block_on(env, status::status(&place, env))
        }
        Command::Logs(arguments) => {
            let place = place(&arguments.target)?;
            let settings = LogSettings::try_from(arguments)?;
            block_on(env, logs::logs(&place, &settings, env))
        }
        Command::PortForward(arguments) => {
            let place = place(&arguments.target)?;
            block_on(env, port_forward::port_forward(&place, env))
        }
        Command::SmokeTest(arguments) => {
            let place = place(&arguments.target)?;
            block_on(
                env,
                smoke_test::smoke_test(&place, &ReportSettings::try_from(&arguments.reports)?, env),
            )
        }
        Command::Down(arguments) => {
            let place = Place::new(&cli.global, &arguments.environment, &[])?;
            let settings = down::DownSettings {
                data: arguments.data,
                yes: arguments.yes,
            };
            block_on(env, down::down(&place, settings, Terminal::ask, env))
        }
    }
}

/// Writes the page about a run below the repository; where there is none, or no room, the table has to do.
fn write_timings(cli: &Cli, run: &Run, started: Timestamp) -> Option<PathBuf> {
    let start = cli.global.directory.clone().unwrap_or_else(|| ".".into());
    let root = stack::find_root(&start.canonicalize().ok()?).ok()?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let facts = [
        ("stackctl", env!("CARGO_PKG_VERSION").to_owned()),
        ("processors", threads.to_string()),
    ];
    let page = Page {
        title: "stackctl",
        started,
        facts: &facts,
        run,
    };
    match timings::write(&root, &page.to_html(), &run.to_json(), started) {
        Ok(path) => Some(path),
        Err(error) => {
            tracing::debug!(%error, "no page of the timings");
            None
        }
    }
}

/// A path on the command line, from the folder that `-C` names.
fn below(global: &Global, path: &std::path::Path) -> std::path::PathBuf {
    match &global.directory {
        Some(directory) => directory.join(path),
        None => path.to_path_buf(),
    }
}

/// Runs a command that waits; the first Ctrl-C lets it end in order, the second ends it.
fn block_on(
    env: &Env,
    command: impl Future<Output = Result<Outcome, CommandError>>,
) -> Result<Outcome, CommandError> {
    // Fails where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = command => result,
            () = interrupted_twice(&env.cancel) => Err(cut_short()),
        }
    });
    runtime.shutdown_background();
    result
}

/// The second Ctrl-C: nothing is tidied up any more.
fn cut_short() -> CommandError {
    let problem = Diagnostic::error(
        CUT_SHORT,
        "interrupted twice: what was under way is left as it is",
    )
    .note(
        "a lock that was held ends by itself within 60 s, at once for the next run on this machine",
    )
    .hint("run the command again and it continues from there");
    CommandError {
        exit: Exit::Interrupted,
        diagnostics: vec![problem],
    }
}

fn runtime() -> Result<Runtime, CommandError> {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError {
            exit: Exit::Failed,
            diagnostics: vec![Diagnostic::error(
                NO_RUNTIME,
                format!("no threads can be started: {error}"),
            )],
        })
}

async fn interrupted_twice(cancel: &CancellationToken) {
    for _ in 0..2 {
        asked_to_stop().await;
        cancel.cancel();
    }
}

/// Ctrl-C, or SIGTERM as supervisors and `timeout` send it.
async fn asked_to_stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => if result.is_err() { std::future::pending::<()>().await },
        _ = terminate.recv() => {}
    }
}
