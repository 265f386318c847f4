//! [`Diagnostic`] → text: the excerpt of the user's file, a caret, notes and hints.

use std::path::Path;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Label, Severity};

/// Draws one diagnostic, with ANSI styles; ends with a line break.
pub(super) fn draw(diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code.as_str());
    let group = Group::with_title(title)
        .elements(snippets(&diagnostic.labels))
        .elements(
            diagnostic
                .notes
                .iter()
                .map(|note| Level::NOTE.message(note.as_str())),
        )
        .elements(
            diagnostic
                .hints
                .iter()
                .map(|hint| Level::HELP.with_name("hint").message(hint.as_str())),
        );
    format!("{}\n", Renderer::styled().render(&[group]))
}

/// One snippet for each file, in the order in which labels name them.
fn snippets(labels: &[Label]) -> Vec<Snippet<'_, Annotation<'_>>> {
    let mut files: Vec<&Path> = Vec::new();
    for label in labels {
        let path = label.span.file().path();
        if !files.contains(&path) {
            files.push(path);
        }
    }
    files
        .into_iter()
        .filter_map(|path| snippet(path, labels))
        .collect()
}

fn snippet<'a>(path: &'a Path, labels: &'a [Label]) -> Option<Snippet<'a, Annotation<'a>>> {
    let here = || {
        labels
            .iter()
            .enumerate()
            .filter(|(_, label)| label.span.file().path() == path)
    };
    let (_, first) = here().next()?;
    let annotations = here().map(|(position, label)| {
        let kind = if position == 0 {
            AnnotationKind::Primary
        } else {
            AnnotationKind::Context
        };
        let text = (!label.text.is_empty()).then_some(label.text.as_str());
        kind.span(first_line(label)).label(text)
    });
    let snippet = Snippet::source(first.span.file().text()).path(path.to_str());
    Some(snippet.annotations(annotations))
}

/// A caret below one line says where; one beside a whole map says nothing.
fn first_line(label: &Label) -> std::ops::Range<usize> {
    let range = label.span.range();
    let end = label
        .span
        .text()
        .find('\n')
        .map_or(range.end, |newline| range.start + newline);
    range.start..end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Code, SourceFile, Span};

    fn plain(diagnostic: &Diagnostic) -> String {
        anstream::adapter::strip_str(&draw(diagnostic)).to_string()
    }

    #[test]
    fn the_place_is_shown_with_a_caret() {
        let file = SourceFile::new("stack.yaml", "name: shop\nprots: 1\n");
        let diagnostic = Diagnostic::error(Code::new("S0999"), "unknown key `prots`")
            .at(&Span::new(&file, 11..16), "here")
            .note("a fact")
            .hint("did you mean `ports`?");
        assert_eq!(
            plain(&diagnostic),
            "error[S0999]: unknown key `prots`
 --> stack.yaml:2:1
  |
2 | prots: 1
  | ^^^^^ here
  |
  = note: a fact
  = hint: did you mean `ports`?
"
        );
    }

    #[test]
    fn a_place_may_be_at_the_end_or_span_lines() {
        let file = SourceFile::new("a.yaml", "a:\n  b: 1\n");
        for range in [0..10, 10..10, 0..0] {
            let drawn = plain(
                &Diagnostic::warning(Code::new("S0998"), "m").at(&Span::new(&file, range), ""),
            );
            assert!(
                drawn.starts_with("warning[S0998]: m\n --> a.yaml:"),
                "{drawn}"
            );
            assert!(drawn.contains('^'), "{drawn}");
        }
    }
}
