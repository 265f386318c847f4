//! Rendered text in which every value is a token, and the way back from there to the template.

use std::ops::Range;

use crate::diagnostic::Span;

use super::value::Value;

/// First character of a token; all are of [`crate::secret::RESERVED`], none is one of a secret's.
const OPEN: char = '\u{F0020}';
/// Last character of a token.
const CLOSE: char = '\u{F0021}';
/// The digit 0 inside a token; no character of it means anything to YAML.
const ZERO: u32 = 0xF0030;

/// What a template rendered to.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    text: String,
    segments: Vec<Segment>,
    placeholders: Vec<Placeholder>,
}

/// Text from `start` to the next segment, and its place in the template.
#[derive(Debug)]
struct Segment {
    start: usize,
    place: Span,
    /// Whether it stands there byte by byte.
    verbatim: bool,
}

/// What a token stands for.
#[derive(Clone, Debug)]
pub(super) struct Placeholder {
    pub value: Value,
    /// The tag that wrote it.
    pub place: Span,
}

/// A text cut at its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// Index of a placeholder.
    Token(usize),
}

impl Rendered {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Writes literal text that stands at `place`.
    pub(super) fn write(&mut self, text: &str, place: Span) {
        let verbatim = place.range().len() == text.len();
        self.segments.push(Segment {
            start: self.text.len(),
            place,
            verbatim,
        });
        self.text.push_str(text);
    }

    /// Writes the token of a value.
    pub(super) fn write_value(&mut self, value: Value, place: Span) {
        let token = token(self.placeholders.len());
        self.write(&token, place.clone());
        if let Some(segment) = self.segments.last_mut() {
            segment.verbatim = false;
        }
        self.placeholders.push(Placeholder { value, place });
    }

    pub(super) fn placeholder(&self, index: usize) -> Option<&Placeholder> {
        self.placeholders.get(index)
    }

    /// Where in the template a range of the rendered text comes from.
    pub(super) fn place(&self, range: Range<usize>) -> Option<Span> {
        let after = self
            .segments
            .partition_point(|segment| segment.start <= range.start);
        let segment = self.segments.get(after.saturating_sub(1))?;
        if !segment.verbatim {
            return Some(segment.place.clone());
        }
        let length = segment.place.range().len();
        let start = range.start.saturating_sub(segment.start).min(length);
        let end = range.end.saturating_sub(segment.start).clamp(start, length);
        let offset = segment.place.range().start;
        Some(Span::new(
            segment.place.file(),
            offset + start..offset + end,
        ))
    }

    /// Text with tokens as a reader of the template would have it.
    pub(super) fn readable(&self, text: &str) -> String {
        let tag = |index| {
            self.placeholder(index)
                .map_or("", |placeholder| placeholder.place.text())
        };
        pieces(text)
            .map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Token(index) => tag(index),
            })
            .collect()
    }

    /// The tokens with their places in the rendered text.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        let mut at = 0;
        pieces(&self.text).filter_map(move |piece| {
            let start = at;
            at += match piece {
                Piece::Text(text) => text.len(),
                Piece::Token(index) => token(index).len(),
            };
            match piece {
                Piece::Text(_) => None,
                Piece::Token(index) => Some((index, start..at)),
            }
        })
    }
}

/// Cuts a text at its tokens.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, length) = match rest.find(OPEN) {
            Some(0) => read_token(rest).map_or_else(
                || (Piece::Text(rest), rest.len()),
                |(index, length)| (Piece::Token(index), length),
            ),
            Some(start) => (Piece::Text(&rest[..start]), start),
            None => (Piece::Text(rest), rest.len()),
        };
        rest = &rest[length..];
        Some(piece)
    })
}

/// The index of the token that `text` starts with, and the token's length.
fn read_token(text: &str) -> Option<(usize, usize)> {
    let end = text.find(CLOSE)?;
    let index = text[OPEN.len_utf8()..end]
        .chars()
        .try_fold(0_usize, |index, c| {
            let digit = u32::from(c).checked_sub(ZERO).filter(|digit| *digit < 10)?;
            Some(index * 10 + digit as usize)
        })?;
    Some((index, end + CLOSE.len_utf8()))
}

fn token(index: usize) -> String {
    let digits = index.to_string();
    let digits = digits
        .bytes()
        .filter_map(|digit| char::from_u32(ZERO + u32::from(digit - b'0')));
    std::iter::once(OPEN)
        .chain(digits)
        .chain(std::iter::once(CLOSE))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceFile;
    use crate::secret;

    #[test]
    fn tokens_are_cut_out_of_text() {
        let text = format!("a{}{}b", token(0), token(120));
        let found: Vec<Piece<'_>> = pieces(&text).collect();
        assert_eq!(
            found,
            [
                Piece::Text("a"),
                Piece::Token(0),
                Piece::Token(120),
                Piece::Text("b")
            ]
        );
        assert!(token(42).chars().all(|c| secret::RESERVED.contains(&c)));
        assert!(
            !secret::is_secret(&token(42)),
            "no token looks like that of a secret"
        );
    }

    #[test]
    fn rendered_text_knows_its_place_in_the_template() {
        let file = SourceFile::new("a.hbs", "x: {{v}}\nyy: 1\n");
        let mut rendered = Rendered::default();
        rendered.write("x: ", Span::new(&file, 0..3));
        rendered.write_value(Value::text("v"), Span::new(&file, 3..8));
        rendered.write("\nyy: 1\n", Span::new(&file, 8..15));
        let at = rendered.text().find("yy").unwrap();
        let place = rendered.place(at..at + 2).unwrap();
        assert_eq!(
            (place.to_string().as_str(), place.text()),
            ("a.hbs:2:1", "yy")
        );
        let place = rendered.place(5..6).unwrap();
        assert_eq!(
            (place.to_string().as_str(), place.text()),
            ("a.hbs:1:4", "{{v}}")
        );
        assert_eq!(rendered.readable(rendered.text()), "x: {{v}}\nyy: 1\n");
        let tokens: Vec<_> = rendered.tokens().collect();
        assert_eq!(tokens, [(0, 3..3 + token(0).len())]);
    }
}
