//! YAML before its scalars have types.

use crate::diagnostic::Span;

/// A node of a document as it was written; aliases and merge keys are already expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Where it was written (for an alias: where the alias stands).
    pub span: Span,
    /// What it is.
    pub kind: TreeKind,
}

/// The shapes of a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeKind {
    /// Text without a type yet.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Tree>),
    /// Pairs in the order of the file.
    Map(Vec<(Tree, Tree)>),
}

/// A scalar's text after YAML's own escapes and folding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text.
    pub text: String,
    /// How it was written: only a plain scalar can be something other than a string.
    pub style: Style,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// A literal or folded block.
    Block,
}
