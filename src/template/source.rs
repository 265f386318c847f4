//! The text of a template and where each of its characters stands in a user's file.

use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{SourceFile, Span};

/// A template's text: a file of its own, or a scalar inside a YAML file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    text: Arc<str>,
    places: Places,
}

#[derive(Clone, Debug)]
enum Places {
    /// The text is the file.
    File(Arc<SourceFile>),
    /// For each byte of the text, and its end, the offset in the file.
    Aligned(Arc<SourceFile>, Arc<[usize]>),
    /// The text is somewhere in here, written with escapes.
    Within(Span),
}

impl Source {
    pub(super) fn file(file: &Arc<SourceFile>) -> Self {
        Self {
            text: file.text().into(),
            places: Places::File(Arc::clone(file)),
        }
    }

    /// The text of the YAML scalar at `span`.
    pub(super) fn scalar(text: &str, span: &Span) -> Self {
        let places = match align(text, span.text()) {
            Some(offsets) => {
                let start = span.range().start;
                let offsets = offsets.iter().map(|offset| start + offset).collect();
                Places::Aligned(Arc::clone(span.file()), offsets)
            }
            None => Places::Within(span.clone()),
        };
        Self {
            text: text.into(),
            places,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The place of a range of bytes of the text.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        match &self.places {
            Places::File(file) => Span::new(file, range),
            Places::Aligned(file, offsets) => {
                let last = offsets.len() - 1;
                let start = offsets[range.start.min(last)];
                let end = match range.end {
                    end if end > range.start => offsets[(end - 1).min(last)] + 1,
                    _ => start,
                };
                Span::new(file, start..end)
            }
            Places::Within(span) => span.clone(),
        }
    }
}

/// For each byte of `text` its offset in `written`, which has quotes, indentation and escapes besides;
/// none where a character is spelt differently there.
fn align(text: &str, written: &str) -> Option<Vec<usize>> {
    let written = written.as_bytes();
    let mut offsets = Vec::with_capacity(text.len() + 1);
    let mut at = 0;
    for byte in text.bytes() {
        at += written.get(at..)?.iter().position(|other| *other == byte)?;
        offsets.push(at);
        at += 1;
    }
    offsets.push(at);
    Some(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(yaml: &str, scalar: &str, text: &str, part: &str) -> String {
        let file = SourceFile::new("service.yaml", yaml);
        let start = yaml.find(scalar).unwrap();
        let source = Source::scalar(text, &Span::new(&file, start..start + scalar.len()));
        let at = text.find(part).unwrap();
        let span = source.span(at..at + part.len());
        format!("{span} {}", span.text())
    }

    #[test]
    fn text_of_scalars_has_its_place_in_the_file() {
        for (yaml, scalar, text, expected) in [
            (
                "a: x-{{b}}\n",
                "x-{{b}}",
                "x-{{b}}",
                "service.yaml:1:6 {{b}}",
            ),
            (
                "a: \"x-{{b}}\"\n",
                "\"x-{{b}}\"",
                "x-{{b}}",
                "service.yaml:1:7 {{b}}",
            ),
            (
                "a: 'it''s {{b}}'\n",
                "'it''s {{b}}'",
                "it's {{b}}",
                "service.yaml:1:11 {{b}}",
            ),
            (
                "a: |\n  one\n  {{b}}\n",
                "|\n  one\n  {{b}}\n",
                "one\n{{b}}\n",
                "service.yaml:3:3 {{b}}",
            ),
            (
                "a: \"\\t{{b}}\"\n",
                "\"\\t{{b}}\"",
                "\t{{b}}",
                "service.yaml:1:4 \"\\t{{b}}\"",
            ),
        ] {
            assert_eq!(place(yaml, scalar, text, "{{b}}"), expected, "{yaml}");
        }
    }
}
