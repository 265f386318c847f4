//! A template after everything that can be refused without values has been refused.

use std::ops::Range;

use crate::diagnostic::Span;

use super::functions::Function;
use super::source::Source;
use super::value::Value;

#[derive(Debug)]
pub(super) struct Template {
    pub source: Source,
    pub nodes: Vec<Node>,
}

#[derive(Debug)]
pub(super) enum Node {
    /// Literal text, in runs that stand in the source as they are.
    Text(Vec<Run>),
    /// `{{value}}`
    Write { value: Expression, span: Span },
    /// `{{#kind subject}}body{{else}}otherwise{{/kind}}`
    Block(Box<Block>),
    /// `{{> name this}}`
    Partial(Partial),
}

/// Literal text and its place in the source.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub text: String,
    pub place: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Block {
    pub kind: BlockKind,
    pub subject: Expression,
    /// Names after `as |value key|`.
    pub parameters: Vec<String>,
    pub body: Vec<Node>,
    pub otherwise: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    If { zero_is_true: bool },
    Unless { zero_is_true: bool },
    Each,
    With,
}

#[derive(Debug)]
pub(super) struct Partial {
    pub name: String,
    pub this: Option<Expression>,
    /// What stands before the tag, where nothing else is in its line.
    pub indent: String,
    pub span: Span,
}

#[derive(Debug)]
pub(super) enum Expression {
    Path(Path),
    Literal(Value),
    Call(Call),
}

#[derive(Debug)]
pub(super) struct Call {
    pub function: Function,
    pub arguments: Vec<Expression>,
    pub span: Span,
}

/// `../a.b`, `@key`, `@root.a`
#[derive(Debug)]
pub(super) struct Path {
    pub origin: Origin,
    pub steps: Vec<Step>,
    pub span: Span,
}

/// Where a path starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The value of the block that is this many blocks out.
    This(usize),
    /// The whole context.
    Root,
    /// `@index`, `@key`, `@first`, `@last`.
    Local(usize, String),
}

/// A key or an index, and its place.
#[derive(Debug)]
pub(super) struct Step {
    pub name: String,
    pub span: Span,
}

impl Expression {
    pub(super) fn span(&self) -> Option<&Span> {
        match self {
            Self::Path(path) => Some(&path.span),
            Self::Call(call) => Some(&call.span),
            Self::Literal(_) => None,
        }
    }
}
