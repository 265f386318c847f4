//! Where things stand inside `{{…}}`: Handlebars' parser tells the place of a tag, not of its parts.

use std::ops::Range;

/// A tag: its bytes, and those of its words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// From `{{` to `}}`.
    pub range: Range<usize>,
    /// Names, paths, strings and signs, in their order.
    pub words: Vec<Range<usize>>,
}

impl Tag {
    /// The tag that starts at `start`, which is at `{{`.
    pub(super) fn at(text: &str, start: usize) -> Self {
        let mut at = start;
        while text[at..].starts_with('{') {
            at += 1;
        }
        let mut words = Vec::new();
        while let Some(c) = text[at..].chars().next() {
            let end = at + word_length(&text[at..], c);
            if c == '}' {
                let braces = text[at..].bytes().take_while(|byte| *byte == b'}').count();
                let opening = text[start..]
                    .bytes()
                    .take_while(|byte| *byte == b'{')
                    .count();
                at += braces.min(opening.max(2));
                break;
            }
            if !c.is_whitespace() {
                words.push(at..end);
            }
            at = end;
        }
        Self {
            range: start..at,
            words,
        }
    }

    /// The place of `word`; that of the tag where it is not found.
    pub(super) fn find(&self, text: &str, word: &str) -> Range<usize> {
        self.words
            .iter()
            .find(|range| text[(*range).clone()] == *word)
            .unwrap_or(&self.range)
            .clone()
    }

    /// Its first word that is not `~`.
    fn first<'a>(&self, text: &'a str) -> &'a str {
        self.words
            .iter()
            .map(|range| &text[range.clone()])
            .find(|word| *word != "~")
            .unwrap_or_default()
    }
}

/// The `{{else}}` or `{{^}}` at or after `from`.
pub(super) fn next_else(text: &str, from: usize) -> Option<Tag> {
    tags(text, from).find(|tag| matches!(tag.first(text), "else" | "^"))
}

/// The innermost block that is never closed, such as `{{#if a}}`.
pub(super) fn unclosed(text: &str) -> Option<Tag> {
    let mut open = Vec::new();
    for tag in tags(text, 0) {
        let first = tag.first(text);
        if first == "#" {
            open.push(tag);
        } else if first.starts_with('/') {
            open.pop();
        }
    }
    open.pop()
}

/// All tags from `from` on, without comments and escaped ones.
fn tags(text: &str, from: usize) -> impl Iterator<Item = Tag> {
    let mut at = from;
    std::iter::from_fn(move || {
        loop {
            let start = at + text.get(at..)?.find("{{")?;
            let rest = &text[start..];
            if text[..start].ends_with('\\') {
                at = start + 2;
            } else if rest.starts_with("{{!") {
                let end = if rest.starts_with("{{!--") {
                    "--}}"
                } else {
                    "}}"
                };
                at = start + rest.find(end)? + end.len();
            } else {
                let tag = Tag::at(text, start);
                at = tag.range.end;
                return Some(tag);
            }
        }
    })
}

/// The length of what starts with `first`: a string, a sign, or a run of other characters.
fn word_length(rest: &str, first: char) -> usize {
    match first {
        '"' | '\'' => {
            let mut escaped = false;
            rest.char_indices()
                .skip(1)
                .find(|(_, c)| {
                    let closes = *c == first && !escaped;
                    escaped = *c == '\\' && !escaped;
                    closes
                })
                .map_or(rest.len(), |(at, _)| at + 1)
        }
        c if is_sign(c) || c.is_whitespace() => c.len_utf8(),
        _ => {
            let mut raw = false;
            rest.char_indices()
                .find(|(_, c)| {
                    raw = (raw || *c == '[') && *c != ']';
                    !raw && (is_sign(*c) || c.is_whitespace() || matches!(c, '"' | '\''))
                })
                .map_or(rest.len(), |(at, _)| at)
        }
    }
}

fn is_sign(c: char) -> bool {
    "()#^>&*~=|{}".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let tag = Tag::at(text, text.find("{{").unwrap());
        tag.words.iter().map(|range| &text[range.clone()]).collect()
    }

    #[test]
    fn tags_are_cut_into_words() {
        for (text, expected) in [
            ("x {{a.b}} y", &["a.b"][..]),
            (
                "{{~ #if (eq a '}}') ~}}",
                &["~", "#", "if", "(", "eq", "a", "'}}'", ")", "~"],
            ),
            (
                "{{f a.[b c] x=\"\\\"\"}}",
                &["f", "a.[b c]", "x", "=", "\"\\\"\""],
            ),
            (
                "{{#each a as |v k|}}",
                &["#", "each", "a", "as", "|", "v", "k", "|"],
            ),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
        assert_eq!(Tag::at("a {{b}}} c", 2).range, 2..7);
        assert_eq!(Tag::at("a {{{b}}} c", 2).range, 2..9);
    }

    #[test]
    fn blocks_without_an_end_are_found() {
        for (text, expected) in [
            ("{{#if a}}{{#each b}}{{/each}}", Some("{{#if a}}")),
            ("{{#if a}}\\{{/if}}", Some("{{#if a}}")),
            ("{{#if a}}{{!-- {{/if}} --}}{{/if}}", None),
        ] {
            let found = unclosed(text).map(|tag| &text[tag.range]);
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn the_next_else_is_found() {
        let text = "{{#if a}}x{{~ else if b}}y{{^}}z{{/if}}";
        let first = next_else(text, 0).unwrap();
        assert_eq!(&text[first.range.clone()], "{{~ else if b}}");
        assert_eq!(
            &text[next_else(text, first.range.end).unwrap().range],
            "{{^}}"
        );
    }
}
