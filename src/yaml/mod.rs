//! The one YAML dialect of the tool: YAML 1.2 whose ambiguous scalars are refused instead of guessed.
//!
//! [`parse`] gives [`Tree`]s (text, style and place of every scalar), [`resolve`] gives [`Node`]s (typed
//! values with their places). Templates put their values in between the two.

mod decode;
mod node;
mod parse;
mod scalar;
mod tree;

pub use decode::{Decoder, parse_duration};
pub use node::{Key, Node, Value, resolve};
pub use parse::{Reserved, parse};
pub use scalar::{Plain, plain};
pub use tree::{Scalar, Style, Tree, TreeKind};

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, SourceFile};

/// Parses a file that holds one document; an empty file is an empty map.
pub fn document(file: &Arc<SourceFile>) -> Result<Node, Vec<Diagnostic>> {
    let mut trees = parse(file, Reserved::Refused).map_err(|problem| vec![problem])?;
    if trees.len() > 1 {
        let second = trees.swap_remove(1);
        return Err(vec![
            Diagnostic::error(parse::SYNTAX, "more than one YAML document")
                .at(&second.span, "the second one starts here")
                .hint("this file holds one document: remove the `---`"),
        ]);
    }
    match trees.pop() {
        Some(tree) => resolve(tree),
        None => Ok(Node {
            span: crate::diagnostic::Span::start_of(file),
            value: Value::Map(Vec::new()),
        }),
    }
}
