//! What went wrong, as data: message, places in the user's files, hints and the exit code.
//!
//! Engines return typed errors; [`Explain`] turns them into [`Diagnostic`]s, and only `ui` draws those.

mod code;
mod exit;
mod source;
mod suggest;

pub use code::Code;
pub use exit::Exit;
pub use source::{Position, SourceFile, Span};
pub use suggest::did_you_mean;

/// One problem, ready to be drawn: never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable identifier, such as `S0102`.
    pub code: Code,
    /// Whether this stops the command.
    pub severity: Severity,
    /// A lower-case sentence without a full stop.
    pub message: String,
    /// Places in files; the first one is where the problem is, the others are context.
    pub labels: Vec<Label>,
    /// Facts below the excerpt: the chain of objects, log lines, causes.
    pub notes: Vec<String>,
    /// What the user can do about it.
    pub hints: Vec<String>,
}

/// How much a [`Diagnostic`] weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The command goes on.
    Warning,
    /// The command ends with the error's exit code.
    Error,
}

/// A place in a file and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is there; may be empty.
    pub text: String,
}

impl Diagnostic {
    /// An error without places; add them with [`Diagnostic::at`].
    #[must_use]
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// A warning without places.
    #[must_use]
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }

    /// Adds a place; the first call names the primary one.
    #[must_use]
    pub fn at(mut self, span: &Span, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            span: span.clone(),
            text: text.into(),
        });
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the causes of `error`, outermost first, as one note.
    #[must_use]
    pub fn caused_by(self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut chain = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !chain.contains(&text) {
                chain.push_str(": ");
                chain.push_str(&text);
            }
            next = cause.source();
        }
        self.note(chain)
    }
}

/// An error that knows its exit code and how to present itself to a user.
pub trait Explain {
    /// The exit code of a command that ends with this error.
    fn exit(&self) -> Exit;

    /// At least one diagnostic, the most important first.
    fn diagnostics(&self) -> Vec<Diagnostic>;
}

/// Every problem found in the user's input, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Diagnostic>);

impl Problems {
    /// `Err` where `found` holds an error; warnings alone do not fail.
    pub fn check(found: Vec<Diagnostic>) -> Result<Vec<Diagnostic>, Self> {
        if found
            .iter()
            .any(|problem| problem.severity == Severity::Error)
        {
            Err(Self(found))
        } else {
            Ok(found)
        }
    }
}

impl From<Diagnostic> for Problems {
    fn from(problem: Diagnostic) -> Self {
        Self(vec![problem])
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let messages: Vec<&str> = self
            .0
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        f.write_str(&messages.join("; "))
    }
}

impl std::error::Error for Problems {}

impl Explain for Problems {
    fn exit(&self) -> Exit {
        Exit::BadInput
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        self.0.clone()
    }
}
