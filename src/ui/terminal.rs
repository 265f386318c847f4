//! Where everything a command says goes: results, progress, errors.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::cli::{Global, OutputFormat, ProgressMode};
use crate::commands::{CommandError, Outcome};
use crate::diagnostic::Diagnostic;
use crate::event::{EventSink, Silent};
use crate::timings::Run;

use super::log_lines::WithLogs;
use super::progress::{Bars, Detail, Lines, step};
use super::{diagnostics, json, outcome, timings};

/// Problems that are drawn: more than anybody mends before the next run.
const MOST_PROBLEMS: usize = 50;

/// The two streams of the process and how they are used.
#[derive(Debug)]
pub struct Terminal {
    output: OutputFormat,
    progress: ProgressMode,
    quiet: bool,
    verbose: bool,
}

impl Terminal {
    /// As the global options want it.
    #[must_use]
    pub fn new(global: &Global) -> Self {
        Self {
            output: global.output,
            progress: global.progress,
            quiet: global.quiet,
            verbose: global.verbose,
        }
    }

    /// Whether results are JSON.
    fn is_json(&self) -> bool {
        self.output == OutputFormat::Json
    }

    /// Whether stderr shows colours.
    #[must_use]
    pub fn has_color() -> bool {
        anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
    }

    /// Where events go. `cancel` is cancelled when nobody reads stdout any more.
    #[must_use]
    pub fn events(&self, cancel: &CancellationToken) -> Arc<dyn EventSink> {
        Arc::new(WithLogs::new(
            self.is_json(),
            cancel.clone(),
            self.progress(),
        ))
    }

    fn progress(&self) -> Arc<dyn EventSink> {
        let detail = match (self.quiet, self.verbose) {
            (true, _) => Detail::Quiet,
            (false, true) => Detail::Verbose,
            (false, false) => Detail::Normal,
        };
        let bars = io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        match self.progress {
            ProgressMode::None => Arc::new(Silent),
            ProgressMode::Tty => Arc::new(Bars::new(detail)),
            ProgressMode::Auto if bars && !self.quiet => Arc::new(Bars::new(detail)),
            ProgressMode::Auto | ProgressMode::Plain => Arc::new(Lines::new(detail)),
        }
    }

    /// Shows what came of a command.
    pub fn outcome(&self, outcome: &Outcome) -> io::Result<()> {
        if self.is_json() {
            return self.data(&json::document(outcome));
        }
        let said = outcome::text(outcome);
        if let Some((verb, text)) = &said.last {
            self.say(verb, text);
        }
        self.data(&said.data)
    }

    /// Shows why a command failed: drawn on stderr, and as a document on stdout where programs read.
    pub fn error(&self, error: &CommandError) -> io::Result<()> {
        self.problems(&error.diagnostics);
        if self.is_json() {
            self.data(&json::problems(&error.diagnostics))
        } else {
            Ok(())
        }
    }

    /// Shows where the time of a command went, and where the page about it is.
    pub fn timings(&self, run: &Run, page: Option<&Path>) {
        let mut stderr = anstream::stderr().lock();
        let _ = write!(stderr, "{}", timings::text(run));
        if let Some(page) = page {
            let _ = writeln!(stderr, "{}", step("Timings", &page.display().to_string()));
        }
    }

    /// Asks a person; no terminal to ask on means no.
    #[must_use]
    pub fn ask(question: &str) -> bool {
        if !io::stdin().is_terminal() {
            return false;
        }
        let _ = write!(io::stderr(), "{question} Type `yes`: ");
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes"
    }

    /// Writes data to stdout; a reader that has gone away is no error.
    fn data(&self, text: &str) -> io::Result<()> {
        let mut stdout = anstream::stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
        {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    /// A last line for people, on stderr.
    fn say(&self, verb: &str, text: &str) {
        if !self.quiet {
            let _ = writeln!(anstream::stderr(), "{}", step(verb, text));
        }
    }

    /// Draws problems on stderr, each once and not endlessly many.
    fn problems(&self, problems: &[Diagnostic]) {
        let mut stderr = anstream::stderr().lock();
        let mut shown: Vec<&Diagnostic> = Vec::new();
        for problem in problems {
            if shown.len() == MOST_PROBLEMS {
                let _ = writeln!(stderr, "… and more, {} in all", problems.len());
                break;
            }
            if !shown.contains(&problem) {
                // Nobody is left to be told when stderr is gone.
                let _ = writeln!(stderr, "{}", diagnostics::draw(problem));
                shown.push(problem);
            }
        }
    }
}
