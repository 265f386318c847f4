//! Why an operation on an object failed.

use std::fmt;

use k8s_model::ObjectRef;

use crate::diagnostic::{Code, Diagnostic, Exit, Explain, Label};
use crate::manifest::Origins;

/// Another manager owns a field.
const CONFLICT: Code = Code::new("S0701");
/// The server finds the object invalid.
const INVALID: Code = Code::new("S0702");
/// A field cannot be changed once the object exists.
const IMMUTABLE: Code = Code::new("S0703");
/// The user may not do this.
const FORBIDDEN: Code = Code::new("S0704");
/// A webhook or a policy denied it.
const DENIED: Code = Code::new("S0705");
/// The namespace is missing or goes away.
const NAMESPACE: Code = Code::new("S0706");
/// The server does not serve the kind, or the object is gone.
const NOT_FOUND: Code = Code::new("S0707");
/// Someone else wrote or replaced the object in the meantime.
const CHANGED: Code = Code::new("S0708");
/// The server did not answer, or not with success.
const SERVER: Code = Code::new("S0709");

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reading one object.
    Read,
    /// Listing a kind.
    List,
    /// Server-side apply.
    Apply,
    /// Server-side apply that changes nothing.
    DryRun,
    /// Creating or writing without apply.
    Write,
    /// Deleting.
    Delete,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Apply => "apply",
            Self::DryRun => "check",
            Self::Write => "write",
            Self::Delete => "delete",
        })
    }
}

/// An operation on one object, or on all of a kind, failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}: {reason}", target_name(target))]
pub struct ObjectError {
    /// What was being done.
    pub verb: Verb,
    /// To what; the name is empty where all of a kind were meant.
    pub target: Box<ObjectRef>,
    /// Why not.
    pub reason: Reason,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// Other managers own fields.
    #[error("{}", first_conflict(.0))]
    Conflict(Vec<FieldConflict>),
    /// The object was written or replaced since it was read.
    #[error("it was changed by someone else in the meantime")]
    Changed,
    /// There is one already.
    #[error("it exists already")]
    AlreadyExists,
    /// Fields are wrong.
    #[error("{}", first_problem(.0))]
    Invalid(Vec<FieldProblem>),
    /// The server's version does not know these fields.
    #[error("{}", first_problem(.0))]
    UnknownField(Vec<FieldProblem>),
    /// Fields that cannot be changed once the object exists.
    #[error("{}", first_problem(.0))]
    Immutable(Vec<FieldProblem>),
    /// The user lacks the right; the text is the server's.
    #[error("{0}")]
    Forbidden(String),
    /// A quota of the namespace is used up; the text is the server's.
    #[error("{0}")]
    Quota(String),
    /// An admission webhook or policy said no.
    #[error("`{webhook}` denied it: {message}")]
    Denied {
        /// Its name.
        webhook: String,
        /// Its reason.
        message: String,
    },
    /// The namespace is being deleted.
    #[error("namespace `{0}` is being deleted")]
    NamespaceTerminating(String),
    /// The namespace does not exist.
    #[error("namespace `{0}` does not exist")]
    NamespaceMissing(String),
    /// There is no such object.
    #[error("it does not exist")]
    NotFound,
    /// The server does not serve this kind in this version.
    #[error("this cluster does not serve {0}")]
    NotServed(k8s_model::Gvk),
    /// The credentials are not accepted, or not any more.
    #[error("the cluster does not accept the credentials")]
    Unauthorized,
    /// The server answered with another failure.
    #[error("{message} (HTTP {code})")]
    Server {
        /// HTTP status.
        code: u16,
        /// The server's text.
        message: String,
    },
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(std::time::Duration),
    /// The connection failed or the answer could not be read.
    #[error("{}", super::status::plain(.0))]
    Transport(Box<kube::Error>),
}

/// A field that another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldConflict {
    /// The manager, such as `kubectl-edit`.
    pub manager: String,
    /// The field as the server writes it, such as `.spec.replicas`.
    pub field: String,
    /// The same as a JSON pointer into the object that was sent.
    pub pointer: String,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// The field as the server writes it; may be empty.
    pub field: String,
    /// The same as a JSON pointer into the object that was sent.
    pub pointer: String,
    /// The server's words; for Secrets without any values.
    pub message: String,
}

/// Several operations failed; at least one.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ObjectErrors(pub Vec<ObjectError>);

impl Explain for ObjectError {
    fn exit(&self) -> Exit {
        match &self.reason {
            Reason::Conflict(_) | Reason::Changed | Reason::AlreadyExists => Exit::Conflict,
            Reason::Invalid(_) | Reason::UnknownField(_) | Reason::Immutable(_) => Exit::BadInput,
            _ => Exit::Failed,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let problem = Diagnostic::error(self.code(), self.to_string());
        vec![self.details(problem)]
    }
}

impl Explain for ObjectErrors {
    fn exit(&self) -> Exit {
        self.0.first().map_or(Exit::Failed, Explain::exit)
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        self.0.iter().flat_map(Explain::diagnostics).collect()
    }
}

impl ObjectError {
    /// The fields of the sent object that are at fault, as JSON pointers.
    #[must_use]
    pub fn pointers(&self) -> Vec<&str> {
        self.fields()
            .into_iter()
            .map(|(pointer, _)| pointer)
            .collect()
    }

    /// The same as [`Explain::diagnostics`], with the places where the fields at fault were written.
    #[must_use]
    pub fn diagnostics_at(&self, origins: &Origins) -> Vec<Diagnostic> {
        let mut problems = self.diagnostics();
        let Some(problem) = problems.first_mut() else {
            return problems;
        };
        for (pointer, text) in self.fields() {
            if let Some(origin) = origins.get(pointer) {
                problem.labels.push(Label {
                    span: origin.place().clone(),
                    text,
                });
            }
        }
        problems
    }

    /// Pointer and words for each field at fault.
    fn fields(&self) -> Vec<(&str, String)> {
        match &self.reason {
            Reason::Conflict(conflicts) => conflicts
                .iter()
                .map(|found| {
                    (
                        found.pointer.as_str(),
                        format!("owned by `{}`", found.manager),
                    )
                })
                .collect(),
            Reason::Invalid(problems)
            | Reason::UnknownField(problems)
            | Reason::Immutable(problems) => problems
                .iter()
                .map(|found| (found.pointer.as_str(), found.message.clone()))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn code(&self) -> Code {
        match &self.reason {
            Reason::Conflict(_) => CONFLICT,
            Reason::Changed | Reason::AlreadyExists => CHANGED,
            Reason::Invalid(_) | Reason::UnknownField(_) => INVALID,
            Reason::Immutable(_) => IMMUTABLE,
            Reason::Forbidden(_) | Reason::Unauthorized => FORBIDDEN,
            Reason::Quota(_) | Reason::Denied { .. } => DENIED,
            Reason::NamespaceTerminating(_) | Reason::NamespaceMissing(_) => NAMESPACE,
            Reason::NotFound | Reason::NotServed(_) => NOT_FOUND,
            Reason::Server { .. } | Reason::TimedOut(_) | Reason::Transport(_) => SERVER,
        }
    }

    fn details(&self, problem: Diagnostic) -> Diagnostic {
        match &self.reason {
            Reason::Conflict(conflicts) => conflicts
                .iter()
                .skip(1)
                .fold(problem, |problem, conflict| {
                    problem.note(conflict.to_string())
                })
                .hint("to set it back to what the stack says: `--take-over`")
                .hint("take the field out of the template if the other manager is to keep it"),
            Reason::Invalid(problems) => rest_as_notes(problem, problems),
            Reason::UnknownField(problems) => rest_as_notes(problem, problems)
                .hint("the field is misspelt, or newer than this cluster"),
            Reason::Immutable(problems) => rest_as_notes(problem, problems)
                .hint("the object has to be deleted and made again for this change"),
            Reason::Changed | Reason::AlreadyExists => problem.hint("run the command again"),
            Reason::Forbidden(_) => problem.hint(format!(
                "ask for the right to {} in {}: `kubectl auth can-i --list` shows what you may do",
                rights(self.verb),
                self.target.namespace.as_ref().map_or_else(
                    || "the whole cluster".to_owned(),
                    |namespace| format!("namespace `{namespace}`"),
                ),
            )),
            Reason::Unauthorized => problem.hint("log in to the cluster again"),
            Reason::NamespaceTerminating(_) => {
                problem.hint("run the command again when the namespace is gone")
            }
            Reason::NotServed(_) => problem.hint(
                "install what brings this kind (a CustomResourceDefinition), or remove the object",
            ),
            _ => problem,
        }
    }
}

impl fmt::Display for FieldConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is owned by `{}`", self.field, self.manager)
    }
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "`{}`: {}", self.field, self.message)
        }
    }
}

fn target_name(target: &ObjectRef) -> String {
    if target.name.is_empty() {
        format!("objects of kind {}", target.gvk.kind)
    } else {
        target.to_string()
    }
}

fn first_conflict(conflicts: &[FieldConflict]) -> String {
    conflicts
        .first()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn first_problem(problems: &[FieldProblem]) -> String {
    problems
        .first()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn rest_as_notes(problem: Diagnostic, problems: &[FieldProblem]) -> Diagnostic {
    problems
        .iter()
        .skip(1)
        .fold(problem, |problem, found| problem.note(found.to_string()))
}

fn rights(verb: Verb) -> &'static str {
    match verb {
        Verb::Read => "get",
        Verb::List => "list",
        Verb::Apply | Verb::DryRun | Verb::Write => "create and patch",
        Verb::Delete => "delete",
    }
}
