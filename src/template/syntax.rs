//! What is wrong with a template before it has a syntax tree.

use handlebars::{TemplateError, TemplateErrorReason};

use crate::diagnostic::{Code, Diagnostic};
use crate::secret;

use super::source::Source;
use super::tag;

const SYNTAX: Code = Code::new("S0201");
/// A character of tokens in a template.
pub(super) const RESERVED: Code = Code::new("S0202");

/// The byte offsets at which lines start.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(after).collect())
    }

    /// The byte offset of a line and a column in characters, both from 1.
    pub(super) fn offset(&self, text: &str, (line, column): (usize, usize)) -> usize {
        let start = self.0.get(line - 1).copied().unwrap_or(text.len());
        text[start..]
            .char_indices()
            .nth(column - 1)
            .map_or(text.len(), |(at, _)| start + at)
    }
}

/// Refuses the characters that tokens are made of.
pub(super) fn refuse_reserved(source: &Source) -> Result<(), Diagnostic> {
    let reserved = |(_, c): &(usize, char)| secret::RESERVED.contains(c);
    match source.text().char_indices().find(reserved) {
        None => Ok(()),
        Some((at, c)) => Err(Diagnostic::error(
            RESERVED,
            format!("the character U+{:X} is reserved", u32::from(c)),
        )
        .at(&source.span(at..at + c.len_utf8()), "")
        .hint("remove it: stackctl uses characters of this private area itself")),
    }
}

/// What Handlebars' parser says, at its place and in words of ours.
pub(super) fn explain(source: &Source, error: &TemplateError) -> Diagnostic {
    let text = source.text();
    let at = error
        .pos()
        .map_or(0, |place| Lines::of(text).offset(text, place));
    let width = text[at..].chars().next().map_or(0, char::len_utf8);
    let place = source.span(at..at + width);
    match error.reason() {
        TemplateErrorReason::MismatchingClosedHelper(open, close) => Diagnostic::error(
            SYNTAX,
            format!("`{{{{#{open}}}}}` cannot be closed by `{{{{/{close}}}}}`"),
        )
        .at(&place, ""),
        TemplateErrorReason::InvalidParam(parameter) => {
            let at = text.find(parameter.as_str()).unwrap_or(at);
            Diagnostic::error(SYNTAX, format!("`{parameter}` is no value"))
                .at(&source.span(at..at + parameter.len()), "")
        }
        _ => match tag::unclosed(text) {
            Some(open) => Diagnostic::error(SYNTAX, "this block is never closed")
                .at(&source.span(open.range), "opened here")
                .at(&place, "Handlebars gave up here"),
            None => {
                let before = text[..at].trim_end();
                let leading_dot = text[at..].starts_with('.') && before.ends_with("{{");
                Diagnostic::error(SYNTAX, "this is not valid Handlebars")
                    .at(&place, "")
                    .hint(if leading_dot {
                        "paths start without a dot: this is Handlebars, not a Go template"
                    } else {
                        "write a literal `{{` as `\\{{`"
                    })
            }
        },
    }
}
